"""Several answers for every object, what can be measured of them, and the judge that chooses.

May import structures, errors, labels and the stages below it.
"""

"""Say what the regions of a map are: crops, vocabularies, names, captions, and their records.

May import structures, errors, lookup, coerce, labels.
"""

"""Which pixels the stages look at: large pictures reduced, small objects enlarged.

May import structures, errors, labels and the stages below it.
"""

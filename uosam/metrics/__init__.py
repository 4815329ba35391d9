"""Count additively, match, and turn counts into the scores of published protocols.

May import structures, errors, lookup, coerce, labels.
"""

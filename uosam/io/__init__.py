"""Read and write pictures, label maps, scores and lists of pairs; every file of the tool.

May import structures, errors, lookup, coerce, labels.
"""

"""Turn a coarse label map into prompts, redraws, votes and a merged map, with numpy alone.

May import structures, errors, lookup, coerce, labels.
"""

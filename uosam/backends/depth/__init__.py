"""Networks that see depth in a photograph, from local folders of transformers.

May import errors, structures, lookup, coerce, geometry and the rooms of backends.
"""

"""Depth: maps with units, their pictures, cameras, point clouds, fusion of frames, film.

May import errors, structures, lookup, coerce, labels. Arrays in, arrays or bytes out: no model and
no files; trimesh and matplotlib are imported in the functions that need them (extra ``depth``).
"""

"""Models between pictures and words, and segmentors with named classes, from local folders.

May import what backends may.
"""

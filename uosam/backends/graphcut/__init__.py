"""Segment by graph cuts over colour and texture, without weights.

May import what backends may.
"""

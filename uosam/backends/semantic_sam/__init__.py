"""Segment with Semantic-SAM: one click, six masks from whole to part, in plain PyTorch.

May import what backends may.
"""

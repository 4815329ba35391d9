"""Scores as sums: one pass over the pixels of an image gives counts, all else is arithmetic."""

"""Name the clusters and regions of a folder: look at pictures, vote, draw, and apply the names.

May import what runs may.
"""

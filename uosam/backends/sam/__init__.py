"""Run Segment Anything, MobileSAM and the embedded model behind the seam of backends.

May import what backends may.
"""

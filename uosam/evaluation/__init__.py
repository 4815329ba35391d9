"""Score folders of masks by published protocols; tables, galleries and archives of the scores.

May import every room but bench and cli.
"""

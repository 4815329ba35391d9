"""Compare methods on the same pictures: leaderboards and ablations.

May import every room but cli.
"""

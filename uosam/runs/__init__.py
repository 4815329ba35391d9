"""Work through folders: read, compute and write sample after sample, and resume what was stopped.

May import every room but training, evaluation, bench and cli.
"""

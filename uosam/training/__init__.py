"""Train the embedded model.

May import every room but runs, evaluation, bench and cli; torch as well.
"""

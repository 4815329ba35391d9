"""Cluster, refine, retrain and repeat: what ``uosam loop`` does with a folder of pictures.

May import every room but bench and cli.
"""

"""Sharpen the masks of unsupervised semantic segmentation, and score them."""

__version__ = "0.1.0"

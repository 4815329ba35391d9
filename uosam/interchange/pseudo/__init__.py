"""Refined masks as labels to train on: how sure each pixel is, what is left out, what weighs more.

May import interchange, structures, labels and below: arrays in, arrays and bytes out.
"""

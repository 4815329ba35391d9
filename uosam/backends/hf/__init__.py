"""Run promptable models of the transformers library from local folders.

May import what backends may.
"""

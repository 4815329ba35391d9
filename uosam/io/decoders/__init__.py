"""Quicker ways to the pixels of common files; whoever asks can do without them.

May import what io may.
"""

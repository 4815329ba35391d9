"""Folders of depth in, depth, pictures and scenes out: what ``uosam depth`` does.

May import what runs may import.
"""

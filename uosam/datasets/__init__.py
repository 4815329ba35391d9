"""Know the layouts, class names and counts of public data sets, and check or link them.

May import io, metrics and the rooms below them.
"""

"""Draw pictures for people: overlays, sheets and pages.

May import io, config, metrics and the rooms below them.
"""

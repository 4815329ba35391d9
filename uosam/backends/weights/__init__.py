"""Find, fetch, verify and read weights files, and keep what an encoder computed.

May import what backends may.
"""

"""Very many files in little memory: their names, which belong together, tables that list them.

May import what io may.
"""

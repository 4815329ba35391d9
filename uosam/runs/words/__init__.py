"""Say what regions show, folder by folder.

May import what runs may.
"""

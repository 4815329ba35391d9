"""Folders of masks into the files of other tools, and back; masks that come as COCO JSON.

May import interchange, io, datasets, config, report and the rooms below them.
"""

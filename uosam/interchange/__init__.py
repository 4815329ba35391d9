"""Label maps in the files of other tools, and back: COCO, LabelMe, CVAT, YOLO and others.

May import regions, structures, labels and below: formats know arrays, records and names only.
"""

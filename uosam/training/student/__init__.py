"""Teaching a student the masks of a folder of pictures: what ``uosam retrain`` does.

May import what the training room may; the network itself is in ``uosam.backends.student``.
"""

"""What ``import uosam`` offers: functions that take whatever holds a picture or a mask.

May import every room but cli; nothing imports it but cli and, lazily, the package itself.
"""

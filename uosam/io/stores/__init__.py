"""Files that lie elsewhere: in object stores and archives, by URL, through fsspec.

May import errors. Whatever reads and writes asks ``mounts``; nothing else knows of a store.
"""

"""One run spread over processes and machines, and what they did put together again.

May import what runs may.
"""

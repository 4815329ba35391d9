"""Make the crops and prompts of a training step out of pictures with region maps.

May import what training may.
"""

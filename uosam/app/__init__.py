"""The app in the browser: a picture and a mask, or clicks, in; the sharper mask out.

May import api and the rooms below it; gradio only in ``blocks``, ``handlers`` and ``serve``.
"""

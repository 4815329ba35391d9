"""Rivals and USS models, one file each, from the folder ``baselines`` of the repository.

They may import every room; no room imports them, plans and tables name them as text.
"""

from pathlib import Path

if not Path(__file__).with_name("identity.py").is_file():  # a checkout: the wheel holds the files
    __path__.append(str(Path(__file__).parents[2] / "baselines"))

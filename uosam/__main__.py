"""``python -m uosam`` is the command ``uosam``."""

from uosam.cli import main

if __name__ == "__main__":
    main()

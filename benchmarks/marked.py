"""Tables between two markers of a page, and the note of where a row was measured."""

from __future__ import annotations

from typing import Any

from uosam.errors import InputError


def fill(text: str, content: str, mark: str, page: str = "a page") -> str:
    r"""Return a text with ``content`` between its markers.

    Args:
        text: of the page.
        content: what is to stand there.
        mark: what the markers are called.
        page: name of the page, for the message.

    Raises:
        InputError: a marker is missing.

    >>> fill("a\n<!-- x: begin -->\nold\n<!-- x: end -->\n", "new", "x").splitlines()[2]
    'new'
    """
    first, last = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    head, begin, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end):
        raise InputError(f"{page} must hold the lines {first} and {last}")
    return f"{head}{first}\n{content}\n{last}{tail}"


def measured(row: dict[str, Any]) -> str:
    """Return commit, day and machine of a row."""
    machine = f"{row['cores']} cores, {row['cpu']}"
    return f"Commit {row['commit'][:7]}, {row['time'][:10]}, Python {row['python']}, {machine}."

"""Names cut, and names and errors made fit to be shown: on a terminal, in Markdown, in one line."""

from __future__ import annotations

import errno
import re
import traceback
import unicodedata
from pathlib import Path

from uosam.errors import UosamError, is_out_of_memory

_MARKS = re.compile(r"([\\`*\[\]<>|~$]|^[#+=-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#?\w+;))")
"""Characters that mean something in a line of Markdown or in HTML, some only at its start."""


def without_suffix(name: str) -> str:
    """Cut the last suffix of a relative path with "/".

    >>> without_suffix("n01.x/a.b.png"), without_suffix("n01.x/a")
    ('n01.x/a.b', 'n01.x/a')
    """
    folder, slash, file = name.rpartition("/")
    stem = file.rpartition(".")[0] or file
    return f"{folder}{slash}{stem}"


def printable(text: str) -> str:
    r"""Replace what a terminal would obey by its escape: controls, marks of direction, no text.

    Line breaks stay, so that a message may have several lines.

    >>> printable("a\x1b[2Jb\u202ec\nd")
    'a\\x1b[2Jb\\u202ec\nd'
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(char if _shows(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    r"""Return ``printable`` text with line breaks escaped, too.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return printable(text).replace("\n", r"\n")


def to_markdown(text: str) -> str:
    r"""Return text that Markdown, and the HTML made of it, show as it is, in one line.

    >>> to_markdown("a|b_<img>")
    'a\\|b\\_\\<img\\>'
    """
    return _MARKS.sub(r"\\\1", one_line(text))


def _shows(char: str) -> bool:
    # Format characters (Cf) turn the direction of text or are invisible; joiners of scripts and
    # emoji are among them, and a name with an escape in it is still a name.
    return char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(char: str) -> str:
    return char.encode("unicode_escape", errors="backslashreplace").decode()


_REMEDIES = {
    errno.ENOSPC: "free space and run again",
    errno.EDQUOT: "free space and run again",
    errno.EMFILE: "allow more open files (ulimit -n), or use fewer --workers",
    errno.ENFILE: "allow more open files, or use fewer --workers",
}
"""What helps where the name of a system's error does not say it."""


def explain(error: BaseException) -> str:
    """Say in one line what went wrong; an error that nobody foresaw tells its place.

    >>> explain(OSError(28, "No space left on device", "out/a.png"))
    'out/a.png: No space left on device; free space and run again'
    """
    if isinstance(error, UosamError):
        text = str(error)
    elif is_out_of_memory(error):
        text = "not enough memory; use fewer --workers, a smaller batch, or a smaller picture"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        text = "; ".join(filter(None, [text, _REMEDIES.get(error.errno or 0)]))
    else:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = f"unexpected {type(error).__name__}{place}: {error}; please report this"
    # A file name need not be valid text; what is shown and stored must be.
    return printable(" ".join(text.split()))

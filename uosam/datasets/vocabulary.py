"""Vocabularies: the names that regions and clusters may get, one line of a text file each.

A line is ``name; synonym; synonym``; ``#`` starts a comment. A synonym may be an ImageNet class: by
its key in WordNet (``n02123045``), by a range of keys (``n02085620..n02113978``, all dogs), or by
the name that it has in ``class_names.json`` (``tabby``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from uosam.datasets.class_names import synset_names
from uosam.errors import InputError
from uosam.structures import Floats

_FOLDER = Path(__file__).with_name("vocabularies")
BUILT_IN = ("cityscapes", "cocostuff", "imagenet", "voc")
"""Names of the lists that come with the package."""

UNKNOWN = "unknown"
"""What ids without a name are called."""

_WITHOUT_BACKGROUND = ("cityscapes", "cocostuff")
_KEYS = re.compile(r"(n\d{8})(?:\s*\.\.\s*(n\d{8}))?")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a vocabulary.

    Attributes:
        name: what a region or cluster is called.
        synonyms: other words for it, without keys of WordNet.
        synsets: the ImageNet classes that belong to it, sorted; none where ImageNet has none.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The names in the order of the file.

    Attributes:
        entries: one a line.
        background: whether id 0 is the background and the first line id 1, or the first line id 0,
            as in COCO-Stuff and Cityscapes.
    """

    entries: tuple[Entry, ...]
    background: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every line."""
        return tuple(entry.name for entry in self.entries)

    @property
    def without_synsets(self) -> tuple[str, ...]:
        """Names that ImageNet has no class for: an ImageNet model never gives them."""
        return tuple(entry.name for entry in self.entries if not entry.synsets)

    def gather(self, probabilities: Floats) -> Floats:
        """Sum probabilities (1000, ...) of ImageNet's classes over those of each line: (V, ...).

        >>> vocabulary = Vocabulary(entries=(Entry(name="fish", synsets=("n01440764",)),))
        >>> vocabulary.gather(np.full((1000, 2), 0.001, np.float32)).tolist()
        [[0.0010000000474974513, 0.0010000000474974513]]
        """
        rows = {synset: row for row, synset in enumerate(synset_names())}
        return np.stack(
            [probabilities[[rows[s] for s in entry.synsets]].sum(0) for entry in self.entries]
        ).astype(np.float32)


def has_background(source: str | Path) -> bool:
    """Tell whether id 0 is the background in maps of a vocabulary; reads no file."""
    return str(source) not in _WITHOUT_BACKGROUND


def read_vocabulary(source: str | Path) -> Vocabulary:
    """Read a vocabulary.

    Args:
        source: one of ``BUILT_IN``, or a text file.

    Raises:
        InputError: no such list or file, no text, no line, a line without a name, a name twice, or
            a key that is not one of the 1000 of ImageNet.

    >>> read_vocabulary("voc").without_synsets
    ('person',)
    """
    built_in = str(source) in BUILT_IN
    path = _FOLDER / f"{source}.txt" if built_in else Path(source)
    if not path.is_file():
        raise InputError(
            f"a vocabulary must be {', '.join(BUILT_IN)} or a text file, found nothing at {source}"
        )
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: a vocabulary must be a text file in UTF-8, got {type(error).__name__}"
        ) from error
    return parse_vocabulary(lines, str(path), background=has_background(source))


def parse_vocabulary(
    lines: Sequence[str], where: str = "vocabulary", *, background: bool = True
) -> Vocabulary:
    """Make a vocabulary of its lines.

    Args:
        lines: as of a file.
        where: what messages call them.
        background: whether id 0 is the background.

    Raises:
        InputError: as of ``read_vocabulary``.

    >>> parse_vocabulary(["cat; tabby", "# no name", "sky"]).names
    ('cat', 'sky')
    """
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, start=1):
        parts = [part.strip() for part in line.partition("#")[0].split(";")]
        if not any(parts):
            continue
        entry = _parse(parts, f"{where}, line {number}")
        if entry.name.casefold() in entries:
            raise InputError(
                f"{where}, line {number}: every name must be there once, got {entry.name!r} again; "
                "join the lines, or rename one"
            )
        entries[entry.name.casefold()] = entry
    if not entries:
        raise InputError(f"{where}: a vocabulary must have at least one name, got none")
    return Vocabulary(entries=tuple(entries.values()), background=background)


def _parse(parts: list[str], where: str) -> Entry:
    """Sort the parts of a line into words and ImageNet's classes.

    Raises:
        InputError: there is no name, or a key is not known.
    """
    words = [part for part in parts if part and not _KEYS.fullmatch(part)]
    if not words or words[0] != parts[0]:
        raise InputError(f"{where}: a line must begin with a name, got {parts[0]!r}")
    if words[0].casefold() == UNKNOWN:
        raise InputError(
            f"{where}: {words[0]!r} is what ids without a name are called; take another word"
        )
    synsets: set[str] = set()
    for part in parts:
        if keys := _KEYS.fullmatch(part):
            synsets.update(_between(keys[1], keys[2] or keys[1], where))
    for word in words:
        # Two classes may have one name; a key in the line then says which is meant.
        named = _by_name().get(word.casefold(), set())
        synsets |= named if len(named) == 1 or not named & synsets else set()
    return Entry(name=words[0], synonyms=tuple(words[1:]), synsets=tuple(sorted(synsets)))


def _between(first: str, last: str, where: str) -> list[str]:
    """Return the classes from one key to another, both included.

    Raises:
        InputError: a key is none of ImageNet's, or they are in the wrong order.
    """
    for key in (first, last):
        if key not in synset_names():
            raise InputError(
                f"{where}: {key} must be one of the 1000 synsets of ILSVRC 2012; "
                "uosam/datasets/class_names.json lists them"
            )
    if first > last:
        raise InputError(f"{where}: a range must rise, got {first}..{last}")
    return [key for key in synset_names() if first <= key <= last]


@cache
def _by_name() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for synset, name in synset_names().items():
        found.setdefault(name.casefold(), set()).add(synset)
    return found

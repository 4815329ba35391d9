"""Lines of manifests as a stream: a million of them are never in memory together.

A manifest is in order of name. The manifest of a run under way holds the lines of one run after
the other, each in order. So every file is a few ascending spans, and spans are merged.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One picture: name; output, status, accepted, rejected and digests, or else error."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lines of a file whose names ascend.

    Attributes:
        path: the file.
        start: byte at which the first line begins.
        stop: byte before which the last one begins.
        failures: whether lines that tell of a failure count.
    """

    path: Path
    start: int
    stop: int
    failures: bool = False


def find_spans(path: Path, *, start: int = 0) -> tuple[Row | None, list[Span]]:
    """Read a file once: the last line about settings, and its ascending spans in order.

    A file that is not there has neither.

    Args:
        path: a manifest, finished or not.
        start: byte at which to begin.
    """
    header: Row | None = None
    spans: list[Span] = []
    last, end = "", start
    for place, row in _read(path, start, None):
        if isinstance(row.get("settings"), dict):
            header = row
        elif _is_row(row):
            if row["name"] <= last and place > start:
                spans.append(Span(path=path, start=start, stop=place))
                start = place
            last, end = row["name"], place + 1
    return header, [*spans, *([Span(path=path, start=start, stop=end)] if end > start else [])]


def merge(spans: Sequence[Span], takes: Callable[[str], bool] | None = None) -> Iterator[Row]:
    """Yield rows in order of name; of several with one name that of the last span.

    Args:
        spans: the older first.
        takes: tells which names are wanted; all if None.
    """
    streams = [_number(span, -rank) for rank, span in enumerate(spans)]
    last: str | None = None
    for name, _, row in heapq.merge(*streams):
        if name != last and (takes is None or takes(name)):
            last = name
            yield row


class Lookup:
    """Finds the rows of names that are asked for in ascending order, reading on as it goes."""

    def __init__(self, read: Callable[[], Iterator[Row]]) -> None:
        self._read = read
        self._rows = read()
        self._next: Row | None = next(self._rows, None)
        self._asked: str | None = None

    def find(self, name: str) -> Row | None:
        """Return the row of a name; one that comes out of order costs reading all over again."""
        if self._asked is not None and name < self._asked:
            self._rows = self._read()
            self._next = next(self._rows, None)
        self._asked = name
        while self._next is not None and self._next["name"] < name:
            self._next = next(self._rows, None)
        found = self._next
        return found if found is not None and found["name"] == name else None


def encode_rows(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the lines of rows."""
    for row in rows:
        yield f"{json.dumps(row)}\n".encode()


def _number(span: Span, rank: int) -> Iterator[tuple[str, int, Row]]:
    for _, row in _read(span.path, span.start, span.stop):
        if _is_row(row) and (span.failures or "output" in row):
            yield row["name"], rank, row


def _read(path: Path, start: int, stop: int | None) -> Iterator[tuple[int, Row]]:
    """Yield the place and content of every line that is one; others say nothing.

    A line that a killed run or a full disk cut short is none: its picture is redone.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        place = start
        for line in file:
            if stop is not None and place >= stop:
                return
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield place, row
            place += len(line)


def _is_row(row: Row) -> bool:
    return (
        not isinstance(row.get("settings"), dict)
        and isinstance(row.get("name"), str)
        and isinstance(row.get("output", ""), str)
    )

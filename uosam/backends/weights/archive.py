"""The zip archives that torch writes, read by one strict reader of our own.

Readers of zip files differ in which of several directories they believe, so a file can show one
content to a checker and another to the loader it protects. Here a file has one meaning or is
refused: one directory, at the very end, and entries that lie one after the other from the first
byte to it, each of them once. What is read from here is all that is ever used of a file.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")

_ALL16, _ALL32 = 0xFFFF, 0xFFFFFFFF
"""What a 16 or 32-bit field holds if the number stands in a field of 64 bits."""

_DESCRIBED = 0x8
"""Flag: sizes and checksum come after the content, too."""

MAGIC = b"PK\x03\x04"


class ArchiveError(Exception):
    """The file is no archive with one meaning; the text goes on after "got"."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of an archive: where its header lies, and what the directory says of it."""

    name: str
    flags: int
    method: int
    checksum: int
    stored: int
    size: int
    header: int


def read_archive(data: memoryview) -> dict[str, memoryview]:
    """Return the contents of an archive by name, without the folder that all names share.

    Args:
        data: the whole file.

    Returns:
        Views of ``data``, their checksums compared.

    Raises:
        ArchiveError: it is cut, damaged, compressed, encrypted, holds a program or another
            directory, or its entries overlap, come twice or leave room between them.
    """
    entries, end = _directory(data)
    if any(_is_program(entry.name.partition("/")[2]) for entry in entries):
        raise ArchiveError("a TorchScript program")
    contents: dict[str, memoryview] = {}
    position = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header != position:
            raise ArchiveError("an archive with bytes that belong to no entry, or to two")
        content, position = _content(data, entry, end)
        if entry.name in contents:
            raise ArchiveError(f"an archive with two entries {entry.name!r}")
        contents[entry.name] = content
    if position != end:
        raise ArchiveError("an archive with bytes that belong to no entry, or to two")
    return _without_root(contents)


def _directory(data: memoryview) -> tuple[list[Entry], int]:
    """Return what the only directory lists, and where it begins, which is where entries end."""
    at = len(data) - _END.size
    signature, disk, first, here, total, size, start, comment = _unpack(_END, data, at)
    if signature != b"PK\x05\x06" or comment:
        raise ArchiveError("a damaged or truncated file")
    stop = at
    locator = at - _LOCATOR.size
    if locator >= 0 and bytes(data[locator : locator + 4]) == b"PK\x06\x07":
        _, _, at64, disks = _unpack(_LOCATOR, data, locator)
        stop = locator - _END64.size
        big = _unpack(_END64, data, stop)
        if at64 != stop or disks > 1 or big[0] != b"PK\x06\x06" or big[1] != _END64.size - 12:
            raise ArchiveError("an archive with two directories")
        small = (disk, first, here, total, size, start)
        disk, first, here, total, size, start = big[4:]
        limits = (_ALL16, _ALL16, _ALL16, _ALL16, _ALL32, _ALL32)
        for short, long, limit in zip(small, big[4:], limits, strict=True):
            if short not in (long, limit):
                raise ArchiveError("an archive with two directories")
    if disk or first or here != total or start + size != stop:
        raise ArchiveError("an archive with two directories, or one that is not at its end")
    entries, position = [], start
    for _ in range(total):
        entry, position = _entry(data, position, stop)
        entries.append(entry)
    if position != stop:
        raise ArchiveError("an archive with two directories, or one that is not at its end")
    return entries, start


def _entry(data: memoryview, position: int, stop: int) -> tuple[Entry, int]:
    """Return one line of the directory, and where the next begins."""
    fields = _unpack(_CENTRAL, data, position)
    signature, _, _, flags, method, _, _, checksum, stored, size, *rest = fields
    name_size, extra_size, comment_size, disk, _, _, header = rest
    begin = position + _CENTRAL.size
    end = begin + name_size + extra_size + comment_size
    if signature != b"PK\x01\x02" or disk or end > stop:
        raise ArchiveError("a damaged or truncated file")
    extra = bytes(data[begin + name_size : begin + name_size + extra_size])
    stored, size, header = _long(extra, size, stored, header)
    try:
        name = bytes(data[begin : begin + name_size]).decode()
    except UnicodeDecodeError as error:
        raise ArchiveError("an archive with names that are no text") from error
    entry = Entry(
        name=name,
        flags=flags,
        method=method,
        checksum=checksum,
        stored=stored,
        size=size,
        header=header,
    )
    return entry, end


def _long(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Take 64-bit numbers from the extra field where the short ones are full."""
    numbers = [size, stored, header]
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        block, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind != 1:
            continue
        for index, number in enumerate(numbers):
            if number == _ALL32:
                if len(block) < 8:
                    raise ArchiveError("a damaged or truncated file")
                numbers[index], block = int.from_bytes(block[:8], "little"), block[8:]
    return numbers[1], numbers[0], numbers[2]


def _content(data: memoryview, entry: Entry, end: int) -> tuple[memoryview, int]:
    """Return the bytes of an entry, and where the next entry begins."""
    signature, _, flags, method, _, _, _, stored, size, name_size, extra_size = _unpack(
        _LOCAL, data, entry.header
    )
    begin = entry.header + _LOCAL.size + name_size + extra_size
    after = begin + entry.stored
    name = bytes(data[begin - extra_size - name_size : begin - extra_size])
    if signature != MAGIC or after > end:
        raise ArchiveError("a damaged or truncated file")
    if name != entry.name.encode() or (flags, method) != (entry.flags, entry.method):
        raise ArchiveError("an archive whose entries differ from its directory")
    # 64-bit sizes stand in an extra field, which needs no second look: the end is known.
    told_here = not flags & _DESCRIBED and _ALL32 not in (stored, size)
    if told_here and (stored, size) != (entry.stored, entry.size):
        raise ArchiveError("an archive whose entries differ from its directory")
    if method or flags & 1 or entry.stored != entry.size:
        raise ArchiveError("a compressed or encrypted archive")
    content = data[begin:after]
    if zlib.crc32(content) != entry.checksum:
        raise ArchiveError("a damaged or truncated file")
    return content, after + (_descriptor(data, after, entry) if flags & _DESCRIBED else 0)


def _descriptor(data: memoryview, at: int, entry: Entry) -> int:
    """Return how many bytes repeat the sizes after a content: there are four ways to write it."""
    head = struct.pack("<I", entry.checksum)
    for sizes in (struct.pack("<2Q", entry.stored, entry.size), _short_sizes(entry)):
        for written in (b"PK\x07\x08" + head + sizes, head + sizes):
            if sizes and bytes(data[at : at + len(written)]) == written:
                return len(written)
    raise ArchiveError("an archive whose entries differ from its directory")


def _short_sizes(entry: Entry) -> bytes:
    return struct.pack("<2I", entry.stored, entry.size) if entry.size < _ALL32 else b""


def _is_program(name: str) -> bool:
    return name.startswith("code/") or name == "constants.pkl"


def _without_root(contents: dict[str, memoryview]) -> dict[str, memoryview]:
    """Cut the first folder off all names; refuse a second root."""
    roots = {name.partition("/")[0] for name in contents}
    named = {name.partition("/")[2]: content for name, content in contents.items()}
    if len(roots) != 1 or "data.pkl" not in named:
        raise ArchiveError("an archive that torch.save has not written")
    return named


def _unpack(layout: struct.Struct, data: memoryview, at: int) -> tuple[Any, ...]:
    if at < 0 or at + layout.size > len(data):
        raise ArchiveError("a damaged or truncated file")
    return layout.unpack_from(data, at)

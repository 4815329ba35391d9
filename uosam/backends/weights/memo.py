"""What a pickle asks an unpickler to set aside, looked at before one reads it."""

from __future__ import annotations

import pickletools
import warnings
from typing import IO

_STORE = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def check_memo(file: IO[bytes]) -> None:
    r"""Refuse a pickle whose numbered memory is larger than its own bytes could fill.

    Python's unpickler makes room for every number up to the largest it meets: eight bytes of a
    file can take gigabytes. A pickle that was made by pickling numbers what it has stored in turn.
    The file stands where it stood afterwards.

    Args:
        file: where the pickle begins.

    Raises:
        ValueError: it is no pickle, is cut short, or stores under such a number.

    >>> import io, pickle
    >>> check_memo(io.BytesIO(pickle.dumps([1, 2], protocol=2)))
    >>> check_memo(io.BytesIO(b"\x80\x02]r\xff\xff\xff\x12."))
    Traceback (most recent call last):
    ValueError: number 318767103 is stored after 3 bytes
    """
    start = file.tell()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in the texts of old pickles
        for operation, argument, position in pickletools.genops(file):
            read = (position or 0) - start
            if operation.name in _STORE and not 0 <= int(argument or 0) <= read:
                raise ValueError(f"number {argument} is stored after {read} bytes")
    file.seek(start)

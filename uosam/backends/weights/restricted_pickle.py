"""Reading training checkpoints of other projects without running anything they ask for.

Such files hold more than tensors: optimizer states with NumPy scalars, argparse namespaces,
OmegaConf settings, Lightning callbacks. torch's weights-only reader refuses all of these. Here an
unpickler knows a short list of harmless names, takes every other name for an inert stand-in, and
refuses names whose only use would be an attack. Nothing is imported for a file, and no file is
handed to torch: tensors are built here from bytes that were checked (``archive.py``, and for the
stream of torch before 1.6 below), so no second reader can see another content in it.
"""

from __future__ import annotations

import builtins
import collections
import io
import mmap
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from uosam.backends.weights.archive import MAGIC, ArchiveError, read_archive
from uosam.backends.weights.memo import check_memo
from uosam.backends.weights.storages import (
    DTYPES,
    Storages,
    fill,
    from_archive,
    rebuild,
    reserve,
)
from uosam.errors import BackendError

_DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, OverflowError),
    *(LookupError, TypeError, AttributeError, AssertionError, MemoryError),
)

_STREAM_NUMBER, _STREAM_VERSION = 0x1950A86A20F9469CFC6C, 1001
_STREAM = pickle.dumps(_STREAM_NUMBER, protocol=2)[:-1]
"""What files of torch before 1.6 begin with."""

_ATTACK = re.compile(
    r"(os|posix|nt|subprocess|sys|shutil|socket|pty|runpy|importlib|ctypes|pickle|_pickle|code|"
    r"commands|webbrowser|urllib|timeit|pdb|operator)(\..*)?"
)
"""Modules that the known ways to misuse a pickle go through and no training state refers to."""

_ATTACKING_BUILTINS = frozenset(
    {"eval", "exec", "execfile", "compile", "open", "__import__", "globals", "input", "breakpoint"}
)
_BUILTINS = ("builtins", "__builtin__", "io", "_io")
"""Where built-in functions are found; ``open`` is said to live in the last two."""

_PLAIN_BUILTINS = frozenset(
    {"dict", "list", "tuple", "set", "frozenset", "int", "float", "complex", "bool", "str",
     "slice", "object"}
)  # fmt: skip


def read_checkpoint(path: Path) -> Any:
    """Read a torch file of any age onto the CPU, with stand-ins for what is not data.

    Returns:
        What the file holds: usually nested dicts with tensors; objects of unknown classes are
        instances of ``Inert``.

    Raises:
        BackendError: there is no file, or it is damaged, no torch file, a TorchScript program, an
            archive that readers could take for different things, or it asks for something that
            only an attack needs.
    """
    if not path.is_file():
        raise BackendError(f"a checkpoint file is needed, found nothing at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(len(_STREAM))
            file.seek(0)
            if start.startswith(MAGIC):
                return _read_archive(file)
            if start == _STREAM:
                return _read_stream(file, path.stat().st_size)
    except _RefusedError as error:
        raise BackendError(
            f"{path} asks to run {error}, which no checkpoint needs; it is refused, do not trust "
            "the file or where it came from"
        ) from error
    except ArchiveError as error:
        program = "TorchScript" in str(error)
        remedy = "save its state dict instead" if program else "get it again, or save it anew"
        raise BackendError(f"{path} must be a torch checkpoint, got {error}; {remedy}") from error
    except _DAMAGE as error:
        raise BackendError(
            f"{path} must be a torch checkpoint, got a damaged or truncated file of "
            f"{path.stat().st_size} bytes; get it again"
        ) from error
    raise BackendError(
        f"{path} must be a torch checkpoint, got a file that begins with {start[:8]!r}; get "
        "the file that the model's authors offer"
    )


def _read_archive(file: IO[bytes]) -> Any:
    """Read what torch writes since 1.6."""
    # Mapped and not closed: what was checked is what is used, and tensors copy from it.
    return read_archived(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def read_archived(data: memoryview) -> Any:
    """Read the bytes of what torch writes since 1.6.

    Raises:
        Exception: of many kinds, if they are anything else.
    """
    contents = read_archive(data)
    if bytes(contents.get("byteorder", b"little")) != b"little":
        raise ArchiveError("an archive of a machine with another order of bytes")
    storages = from_archive(contents)
    return _load(io.BytesIO(contents["data.pkl"]), storages)


def _read_stream(file: IO[bytes], size: int) -> Any:
    """Read what torch wrote before 1.6: pickles in a row, then the bytes of all storages."""
    none = reserve(0)
    number, version, machine = (_load(file, none) for _ in range(3))
    if (number, version) != (_STREAM_NUMBER, _STREAM_VERSION) or not machine["little_endian"]:
        raise ValueError("a stream of another version or order of bytes")
    storages = reserve(size)
    content = _load(file, storages)
    for key in _load(file, none):
        data = storages.known[key]
        file.read(8)  # how many elements follow, which the pickle has said
        fill(data, file)
    return content


def _load(file: IO[bytes], storages: Storages) -> Any:
    check_memo(file)
    return _Unpickler(file, storages).load()


class Inert:
    """Stands in for an instance or a call of something unknown: takes everything, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        """Make one whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take a list item."""

    def extend(self, values: object) -> None:
        """Take list items."""

    def add(self, value: object) -> None:
        """Take a set item."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _RefusedError(Exception):
    """The file asks for a name that only an attack needs."""


class _Number:
    """A NumPy dtype as far as a scalar needs one; crafted states cannot reach NumPy itself."""

    def __init__(self, code: str, *args: object) -> None:
        if not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise ValueError(f"a NumPy scalar of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _scalar(number: _Number, data: bytes) -> Any:
    return np.frombuffer(data, number.dtype, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


def _bytearray(*args: Any) -> bytes:
    """Return bytes as protocol 2 writes them: as text; a number would ask for that much memory."""
    if args and isinstance(args[0], int):
        raise ValueError("bytes of a given number")
    return bytes(*args)


def _first(value: Any, *rest: object) -> Any:
    return value


def _rebuild_from_type(function: Any, kind: Any, args: tuple[Any, ...], state: Any) -> Any:
    """Return a tensor whose class, or whose attributes, are not those of every tensor."""
    return function(*args) if isinstance(function, _Call) else Inert()


class _Call:
    """A function that a file may call, and can do nothing else to."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function has no state")


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): _Call(rebuild),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(rebuild),
    ("torch._utils", "_rebuild_tensor_v3"): _Call(rebuild),
    ("torch._utils", "_rebuild_parameter"): _Call(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): _Call(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): _Call(_rebuild_from_type),
    ("numpy.core.multiarray", "scalar"): _Call(_scalar),
    ("numpy._core.multiarray", "scalar"): _Call(_scalar),
    ("numpy", "dtype"): _Call(_Number),
    ("_codecs", "encode"): _Call(_encode),
    **{(module, name): _Call(_bytearray) for module in ("builtins", "__builtin__")
       for name in ("bytes", "bytearray")},
    **{(module, name): dtype for module in ("torch", "torch.storage", "torch.cuda")
       for name, dtype in DTYPES.items()},
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Resolves names by table; never imports."""

    def __init__(self, file: Any, storages: Storages) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a reference stands for."""
        return self._storages.load(pid)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return the thing a name of the file stands for."""
        known = _KNOWN.get((module_name, global_name))
        if known is not None:
            return known
        attack = _ATTACK.fullmatch(module_name) or (
            module_name in _BUILTINS and global_name in _ATTACKING_BUILTINS
        )
        if attack:
            raise _RefusedError(f"{module_name}.{global_name}")
        if module_name in _BUILTINS and global_name in _PLAIN_BUILTINS:
            return getattr(builtins, global_name)
        if module_name == "torch" and isinstance(
            dtype := getattr(torch, global_name, None), torch.dtype
        ):
            return dtype
        return type(f"{module_name}.{global_name}", (Inert,), {})

"""Reading training checkpoints of other projects without running anything they ask for.

Such files hold more than tensors: optimizer states with NumPy scalars, argparse namespaces,
OmegaConf settings, Lightning callbacks. torch's weights-only reader refuses all of these. Here
torch's own reader of both file formats (zip archives, and the stream of torch before 1.6) is given
an unpickler that knows a short list of harmless names, takes every other name for an inert
stand-in, and refuses names whose only use would be an attack. Nothing is imported for a file.
"""

from __future__ import annotations

import builtins
import collections
import pickle
import re
import types
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import _utils as rebuild

from uosam.errors import BackendError

_DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, OverflowError),
    *(LookupError, TypeError, AttributeError, AssertionError, MemoryError, zipfile.BadZipFile),
)

_ZIP = b"PK\x03\x04"
_STREAM = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[:-1]
"""What files of either format begin with; the stream's is torch's magic number, pickled."""

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
     "bytes", "bytearray", "slice", "range", "object"}
)  # fmt: skip


def read_checkpoint(path: Path) -> Any:
    """Read a torch file of any age onto the CPU, with stand-ins for what is not data.

    Returns:
        What the file holds: usually nested dicts with tensors; objects of unknown classes are
        instances of ``Inert``.

    Raises:
        BackendError: there is no file, or it is damaged, no torch file, a TorchScript program, or
            asks for something that only an attack needs.
    """
    if not path.is_file():
        raise BackendError(f"a checkpoint file is needed, found nothing at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(len(_STREAM))
        _check_format(path, start)
        with warnings.catch_warnings():
            # What torch warns of here ends in an error below, or does not matter.
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", pickle_module=_PICKLE_MODULE, weights_only=False
            )
    except BackendError:
        raise
    except _RefusedError as error:
        raise BackendError(
            f"{path} asks to run {error}, which no checkpoint needs; it is refused, do not trust "
            "the file or where it came from"
        ) from error
    except _DAMAGE as error:
        raise BackendError(
            f"{path} must be a torch checkpoint, got a damaged or truncated file of "
            f"{path.stat().st_size} bytes; get it again"
        ) from error


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


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): rebuild._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): rebuild._rebuild_parameter,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _Number,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Resolves names by table; never imports."""

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
        return type(f"{module_name}.{global_name}", (Inert,), {})


def _load(file: IO[bytes], **kwargs: Any) -> Any:
    return _Unpickler(file, **kwargs).load()


_PICKLE_MODULE = types.SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="pickle")


def _check_format(path: Path, start: bytes) -> None:
    """Let only the two formats through whose reader calls nothing but the unpickler above.

    Raises:
        BackendError: the file is of another kind.
        BadZipFile: the archive is cut.
    """
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):
            raise BackendError(
                f"{path} must hold weights, got a TorchScript program; save its state dict instead"
            )
    elif start != _STREAM:
        raise BackendError(
            f"{path} must be a torch checkpoint, got a file that begins with {start[:8]!r}; get "
            "the file that the model's authors offer"
        )

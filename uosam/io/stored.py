"""Label files as they lie on disk: PNG of four kinds, ``.npy`` and ``.npz``, read and written."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError, reason_of
from uosam.io.colours import read_colours
from uosam.io.decoders.png import HEADER_END, SIGNATURE, check_sums, decode_plain
from uosam.io.images import MOST_PIXELS, check_not_empty
from uosam.structures import LabelMap, LabelSpec

MASK_SUFFIXES = (".png", ".npy", ".npz")
"""File name endings taken for masks, in any case; all of them keep ids exactly."""

_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_PNG_CODECS = {
    (1, "grey"): "index8",
    (8, "grey"): "index8",
    (16, "grey"): "index16",
    (8, "RGB"): "luss",
    **{(bits, "palette"): "palette" for bits in (1, 2, 4, 8)},
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Stored:
    """The array of a label file before its values mean anything.

    Attributes:
        array: (H, W), (H, W, 3) for RGB, or (C, H, W) for class scores; dtype as stored.
        codec: name of the codec that fits this kind of file.
        palette: RGB bytes of an indexed PNG.
        key: name of the array inside an ``.npz``.
    """

    array: NDArray[Any]
    codec: str
    palette: bytes | None = None
    key: str | None = None


def read_stored(path: Path) -> Stored:
    """Read a PNG, ``.npy`` or ``.npz`` and tell which codec it fits.

    Raises:
        InputError: missing, empty or damaged file; a kind that no codec reads.
    """
    suffix = path.suffix.lower()
    if suffix not in MASK_SUFFIXES:
        raise InputError(f"{path}: {explain_kind(suffix)}")
    check_not_empty(path)
    try:
        return _read_png(path) if suffix == ".png" else _read_array(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: mask is too large for the memory there is") from error
    except Exception as error:  # of two libraries, which meet damage with errors of all kinds
        raise InputError(
            f"{path}: mask is damaged or truncated ({reason_of(error)}); copy or write it again"
        ) from error


def explain_kind(suffix: str) -> str:
    """Say why files of a kind are not read as masks, and what would be.

    Args:
        suffix: in small letters, with its dot.

    >>> explain_kind(".jpg")
    'masks are .png, .npy, .npz, got .jpg; lossy formats such as JPEG change ids, write PNG instead'
    """
    read = f"masks are {', '.join(MASK_SUFFIXES)}"
    remedy = OTHER_MASKS.get(suffix, "write the ids as PNG")
    return f"{read}, got {suffix or 'no suffix'}; {remedy}"


OTHER_MASKS = {
    **dict.fromkeys(
        (".tif", ".tiff", ".bmp", ".gif", ".ppm"), "convert it to PNG, which keeps ids"
    ),
    ".json": "COCO JSON is read as a file, not beside PNG; 'uosam export FILE --from' reads others",
    ".mat": "save the array of ids as .npy first",
    **dict.fromkeys(
        (".jpg", ".jpeg", ".webp"), "lossy formats such as JPEG change ids, write PNG instead"
    ),
}
"""Endings of files in which people keep masks and that are not read, and what would help."""


def encode_stored(suffix: str, stored: Stored) -> bytes:
    """Encode ``stored`` as the bytes of a file with this suffix; the same input, the same bytes."""
    buffer = io.BytesIO()
    if suffix.lower() == ".npy":
        np.save(buffer, stored.array, allow_pickle=False)
    elif suffix.lower() == ".npz":
        arrays: dict[str, Any] = {stored.key or "arr_0": stored.array}
        np.savez_compressed(buffer, **arrays)
    elif stored.palette is not None:
        height, width = stored.array.shape
        picture = PIL.Image.frombytes("P", (width, height), stored.array.tobytes())
        # Pillow takes the bit depth from the palette's length and so would cut an id beyond it.
        entries = int(stored.array.max(initial=0)) + 1
        picture.putpalette(stored.palette.ljust(3 * entries, b"\0"))
        picture.save(buffer, "PNG")
    else:
        PIL.Image.fromarray(stored.array).save(buffer, "PNG")
    return buffer.getvalue()


def _read_png(path: Path) -> Stored:
    # Pillow stretches 2- and 4-bit grey to 0..255 and cuts 16-bit RGB to 8 bits without a word;
    # the header tells what is really there.
    data = path.read_bytes()
    header = data[:HEADER_END]
    if not header.startswith(SIGNATURE[: len(header)]):
        raise InputError(f"{path}: not a PNG file, in spite of its name; write it again as PNG")
    if len(header) < HEADER_END:
        raise InputError(
            f"{path}: mask is truncated, it ends after {len(data)} bytes; copy or write it again"
        )
    try:
        common = check_sums(data)
    except ValueError as error:
        raise InputError(f"{path}: mask is damaged ({error}); copy or write it again") from error
    bits, kind = header[24], _PNG_KINDS.get(header[25], "unknown")
    codec = _PNG_CODECS.get((bits, kind))
    if codec is None:
        raise InputError(
            f"{path}: a mask must be an 8-bit or 16-bit grey, palette or 8-bit RGB (LUSS) PNG, "
            f"got {bits}-bit {kind}; save it as one of these"
        )
    width, height = struct.unpack(">II", header[16:24])
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: mask of {width} x {height} pixels is too large, at most {MOST_PIXELS} pixels "
            "are read; cut it into tiles"
        )
    plain = decode_plain(data) if common else None
    if plain is not None:
        return Stored(array=plain, codec=codec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(io.BytesIO(data)) as picture:
            array = np.array(picture)
            palette = bytes(picture.getpalette("RGB") or ()) if codec == "palette" else None
    if codec == "index16":
        array = array.astype(np.uint16)
    return Stored(array=array, codec=codec, palette=palette)


def _read_array(path: Path) -> Stored:
    # From memory: of a broken archive numpy would leave the file open.
    data = path.read_bytes()
    _check_bytes(path, data)
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    key = None
    if isinstance(loaded, np.ndarray):
        array = loaded
    else:
        with loaded:
            key = _key(path, loaded.files)
            array = loaded[key]
    if is_soft(array):
        return Stored(array=array, codec="soft", key=key)
    if array.ndim == 3 and np.issubdtype(array.dtype, np.floating):
        return Stored(array=array, codec="scores", key=key)
    if array.ndim == 2 and array.dtype.kind in "iufb":
        return Stored(array=array, codec="npy", key=key)
    raise InputError(
        f"{path}: an array must be (H, W) integer ids or (C, H, W) float class scores, "
        f"got {array.shape} {array.dtype}"
    )


_MOST_BYTES = 1 << 32
"""Bytes that the arrays of an archive may take; few of them can stand for any number."""


def _check_bytes(path: Path, data: bytes) -> None:
    """Refuse arrays that claim more than they hold, or unpack to more than any mask takes."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MOST_BYTES:
            raise InputError(
                f"{path}: arrays must unpack to {_MOST_BYTES} bytes at most, got {size}"
            )
        return
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if math.prod(shape) * dtype.itemsize > len(data):
        raise InputError(f"{path}: mask is damaged or truncated; copy or write it again")


def is_soft(array: NDArray[Any]) -> bool:
    """Tell whether an array says of every pixel how much of it is one object.

    Whole numbers in (H, W) are ids, also as floats.

    >>> is_soft(np.array([[0.2, 1.0]])), is_soft(np.array([[0.0, 1.0]]))
    (True, False)
    """
    if array.dtype.kind != "f" or not array.size:
        return False
    single = array.ndim == 3 and len(array) == 1
    if not single and (array.ndim != 2 or np.array_equal(array, np.round(array))):
        return False
    return bool((array >= 0).all() and (array <= 1).all())


def _key(path: Path, names: list[str]) -> str:
    """Choose the array of an archive: the only one, or the one called scores or arr_0."""
    if len(names) == 1:
        return names[0]
    for name in ("scores", "arr_0"):
        if name in names:
            return name
    raise InputError(
        f"{path}: an archive must hold one array, or one called 'scores' or 'arr_0', "
        f"got {', '.join(sorted(names)) or 'none'}"
    )


def store_ids(labels: LabelMap, spec: LabelSpec) -> NDArray[Any]:
    """Return the array that a file of ``spec`` holds, of any codec but "scores".

    Raises:
        InputError: an id or IGNORE does not fit the encoding.

    >>> store_ids(np.array([[1, -1]], np.int32), LabelSpec(codec="index8", ignore=255)).tolist()
    [[1, 255]]
    """
    if spec.colours is not None:
        return read_colours(spec.colours).to_colours(labels)
    if spec.ignore is None and (labels < 0).any():
        raise InputError(
            f"the map has ignored pixels, but its encoding {spec.codec!r} has no value for them; "
            "set labels.ignore"
        )
    if spec.ignore is not None and (labels == spec.ignore).any() and spec.ignore >= 0:
        raise InputError(f"id {spec.ignore} means ignore in this file; give the class another id")
    ids = np.where(labels < 0, spec.ignore or 0, labels).astype(np.int64)
    largest = _largest(spec)
    if ids.size and (ids.max() > largest or (ids.min() < 0 and spec.codec != "npy")):
        raise InputError(
            f"codec {spec.codec!r} stores ids 0 to {largest}, got {ids.min()} to {ids.max()}; "
            "use a wider encoding such as index16, luss or npy"
        )
    if spec.codec == "luss":
        return np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=-1).astype(np.uint8)
    return ids.astype(spec.dtype)


def _largest(spec: LabelSpec) -> int:
    if spec.codec == "luss":
        return 65535
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "b":
        return 1
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else np.iinfo(np.int32).max

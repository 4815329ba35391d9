"""Label maps in the encodings of the field: read to (H, W) int32, written back as they came.

A codec is the meaning of the stored numbers: which value is "ignore", which id is background, how
an id is spread over channels. The kind of file tells the codec (``docs/files.md`` has the table);
``labels.codec`` insists on one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError, InputError, unknown
from uosam.io.atomic import write_atomic
from uosam.io.colours import read_colours
from uosam.io.decoders.png import join_channels
from uosam.io.soft import (
    binary_scores,
    check_scores,
    flip_soft,
    swap_scores,
    to_probabilities,
)
from uosam.io.stored import Stored, encode_stored, read_stored, store_ids
from uosam.structures import IGNORE, Floats, LabelMap, LabelSpec

Choice = int | Literal["default"] | None
"""An id, the codec's default, or None for "there is none"."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """The meaning of one encoding.

    Attributes:
        title: what it is, for listings.
        background: id of the background unless the user says otherwise.
        ignore: stored value that means "ignore" unless the user says otherwise.
    """

    title: str
    background: int | None = 0
    ignore: int | None = None


CODECS = {
    "luss": Codec(title="RGB PNG, id = R + 256 G, as ImageNet-S and PASS write", ignore=1000),
    "index8": Codec(title="8-bit grey PNG", ignore=255),
    "palette": Codec(title="palette PNG, as Pascal VOC", ignore=255),
    "index16": Codec(title="16-bit grey PNG", ignore=65535),
    "npy": Codec(title=".npy or .npz of (H, W) ids, negative = ignore"),
    "scores": Codec(title=".npy or .npz of (C, H, W) class scores, id = argmax"),
    "colours": Codec(title="RGB PNG of class colours, read by a table (labels.colours)"),
    "soft": Codec(title=".npy or .npz of (H, W) or (1, H, W) parts of one object, 1 above 0.5"),
}


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How label files are read.

    Attributes:
        codec: "auto" takes it from each file; or a key of ``CODECS``, which files must then fit.
        background: id that is no object, "none" where every id is a class (STEGO-style maps), or
            "default" for the codec's own (0 in all of them).
        ignore: stored value that means "ignore", "none", or "default" for the codec's own.
        scores: folder of the class scores behind the masks, ``.npy`` or ``.npz`` of the same
            names, or None; masks stay in their own encoding.
        colours: table by which RGB masks are read: voc, cityscapes, ade20k, camvid, or a CSV file
            with the columns id, red, green, blue, name; None takes RGB for id = R + 256 G.
    """

    codec: str = "auto"
    background: int | Literal["default", "none"] = "default"
    ignore: int | Literal["default", "none"] = "default"
    scores: str | None = None
    colours: str | None = None

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            ConfigError: unknown codec, or an id that is negative or another word; the codec
                "colours" without a table.
        """
        if self.codec == "colours" and self.colours is None:
            raise ConfigError(
                "labels.codec=colours needs the table to read them by, got none; say "
                "labels.colours=voc, or another table"
            )
        if self.codec != "auto" and self.codec not in CODECS:
            raise unknown("codec", self.codec, ("auto", *CODECS))
        for name, value in (("background", self.background), ("ignore", self.ignore)):
            if value not in ("default", "none") and (
                isinstance(value, str) or not 0 <= value < 1 << 31
            ):
                raise ConfigError(
                    f"labels.{name} must be an id of 0 or more, 'none' or 'default', got {value!r}"
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFile:
    """A label map and what is needed to write it back.

    Attributes:
        labels: (H, W) ids, IGNORE where the file says so.
        spec: how the file stored them.
        scores: (C, H, W) class probabilities, channel = id; None for all other codecs.
        stored: the array as read, for writing scores back.
    """

    labels: LabelMap
    spec: LabelSpec
    scores: Floats | None = None
    stored: NDArray[Any]


def read_labels(
    path: Path,
    codec: str | None = None,
    *,
    background: Choice = "default",
    ignore: Choice = "default",
    colours: str | None = None,
) -> LabelFile:
    """Read a label map of any codec.

    Args:
        path: PNG, ``.npy`` or ``.npz``.
        codec: key of ``CODECS`` that the file must fit; None or "auto" takes it from the file.
        background: id of the background; None where every id is a class.
        ignore: stored value that becomes IGNORE; None keeps raw ids (1000 in a LUSS prediction is
            an ordinary id). Negative ids of arrays become IGNORE in any case.
        colours: table by which RGB PNGs are read, as of ``uosam.io.colours.read_colours``.

    Raises:
        InputError: the file is missing, damaged, or does not fit the codec.
        ConfigError: the codec is not known.
    """
    if codec not in (None, "auto") and codec not in CODECS:
        raise unknown("codec", codec or "", ("auto", *CODECS))
    stored = read_stored(path)
    if colours is not None and stored.codec == "luss":
        stored = replace(stored, codec="colours")
    return decode_stored(
        str(path), stored, codec, background=background, ignore=ignore, colours=colours
    )


def decode_stored(
    path: str,
    stored: Stored,
    codec: str | None = None,
    *,
    background: Choice = "default",
    ignore: Choice = "default",
    colours: str | None = None,
) -> LabelFile:
    """Give a stored array its meaning; arguments as of ``read_labels``.

    Args:
        path: what messages call the array.
        stored: the array and the codec that its kind fits.
        codec: as for ``read_labels``.
        background: as for ``read_labels``.
        ignore: as for ``read_labels``.
        colours: the table, for the codec "colours".

    Raises:
        InputError: the array does not fit the codec.
    """
    if codec not in (None, "auto", stored.codec):
        raise InputError(
            f"{path}: codec {codec!r} was asked for, but the file is {stored.codec!r} "
            f"({CODECS[stored.codec].title}); leave out the codec to take it from each file"
        )
    defaults = CODECS[stored.codec]
    sentinel = defaults.ignore if ignore == "default" else ignore
    labels = _ids(path, stored, colours)
    values = _ignore(path, labels, sentinel, stored)
    spec = LabelSpec(
        codec=stored.codec,
        background=defaults.background if background == "default" else background,
        ignore=values[0] if values else sentinel,
        palette=stored.palette,
        dtype=stored.array.dtype.name,
        key=stored.key,
        colours=colours if stored.codec == "colours" else None,
    )
    scores = None
    if stored.codec == "scores":
        scores = to_probabilities(stored.array)
    elif stored.codec == "soft":
        scores = binary_scores(stored.array)
    return LabelFile(labels=labels, spec=spec, scores=scores, stored=stored.array)


def read_with(path: Path, options: LabelOptions) -> LabelFile:
    """Read a label map as ``options`` say; same errors as ``read_labels``."""
    return read_labels(
        path,
        options.codec,
        background=None if options.background == "none" else options.background,
        ignore=None if options.ignore == "none" else options.ignore,
        colours=options.colours,
    )


def write_labels(
    path: Path, labels: LabelMap, spec: LabelSpec, *, scores: NDArray[Any] | None = None
) -> None:
    """Write a label map atomically, in the encoding that ``spec`` describes.

    Args:
        path: its suffix must suit the codec.
        labels: (H, W) ids and IGNORE.
        spec: of the file that the map came from, or made for a new one.
        scores: (C, H, W) as stored, for the codec "scores" only. Where the label changed, the
            values of the old and the new label change places, so that the argmax is ``labels`` and
            every pixel keeps the same set of scores.

    Raises:
        InputError: an id or IGNORE does not fit the encoding, or the suffix does not suit it.
        OSError: the file cannot be written; nothing half-written is left.
    """
    write_atomic(path, encode_labels(path.suffix, labels, spec, scores=scores))


def encode_labels(
    suffix: str, labels: LabelMap, spec: LabelSpec, *, scores: NDArray[Any] | None = None
) -> bytes:
    """Return the bytes that ``write_labels`` writes; same arguments, same errors."""
    suits = (".npy", ".npz") if spec.codec in ("npy", "scores", "soft") else (".png",)
    if suffix.lower() not in suits:
        raise InputError(
            f"codec {spec.codec!r} is written as {' or '.join(suits)}, got suffix {suffix!r}"
        )
    if spec.codec == "scores":
        array = swap_scores(labels, scores)
    elif spec.codec == "soft":
        array = flip_soft(labels, scores)
    else:
        array = store_ids(labels, spec)
    return encode_stored(
        suffix, Stored(array=array, codec=spec.codec, palette=spec.palette, key=spec.key)
    )


def _ignore(path: str, labels: LabelMap, sentinel: int | None, stored: Stored) -> list[int]:
    """Set ignored pixels to IGNORE in place, and return the values that they had."""
    signed = stored.array.dtype.kind != "u" or stored.codec == "colours"
    ignored = labels == (IGNORE if sentinel is None else sentinel)
    if signed:
        ignored |= labels < 0
    if not ignored.any():
        return []
    values: list[int] = np.unique(labels[ignored]).tolist() if signed else [sentinel or 0]
    if len(values) > 1:
        raise InputError(
            f"{path}: ignored pixels must have one value, got {values}; "
            "they could not be written back as they came"
        )
    np.copyto(labels, IGNORE, where=ignored)
    return values


def _ids(path: str, stored: Stored, colours: str | None) -> LabelMap:
    """Turn the stored array into (H, W) ids, a new array with sentinels still in place."""
    array = stored.array
    if stored.codec == "colours" and colours is not None:
        return read_colours(colours).to_ids(path, array).astype(np.int32)
    if stored.codec == "luss":
        ids = join_channels(array)
        if ids.max(initial=0) > 0xFFFF:
            raise InputError(
                f"{path}: in a LUSS mask (id = R + 256 G) blue must be 0, got up to "
                f"{array[..., 2].max()}; a colour picture is no mask: where colours stand for "
                "classes, name their table (--colours voc), else save ids as grey or palette"
            )
        return ids
    if stored.codec == "scores":
        check_scores(path, array)
        return np.asarray(np.argmax(array, axis=0), np.int32)
    if stored.codec == "soft":
        return (array.reshape(array.shape[-2:]) > 0.5).astype(np.int32)
    # MaskContrast writes whole numbers as float32; PASS's logit maps are fractions.
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        raise InputError(
            f"{path}: ids must be whole numbers, got fractions or nan; "
            "class scores must be (C, H, W), one channel per class"
        )
    limits = np.iinfo(np.int32)
    if array.size and not (array.min() >= limits.min and array.max() <= limits.max):
        raise InputError(f"{path}: ids must fit in 32 bits, got {array.min()} to {array.max()}")
    return array.astype(np.int32)

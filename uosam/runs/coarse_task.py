"""One picture of a coarse run: from its path to a written mask and its line of the manifest."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uosam.errors import ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.codecs import encode_labels
from uosam.io.images import read_image
from uosam.io.soft import swap_scores
from uosam.runs.coarse_models import describe_model
from uosam.runs.manifest import Row, file_digest
from uosam.runs.task import Outcome, explain
from uosam.structures import Floats, Image, LabelMap, LabelSpec, Sample

Model = Callable[[Image], Floats]


@dataclass(frozen=True, kw_only=True)
class CoarseOptions:
    """Which model labels the pictures, and what is written.

    Attributes:
        model: key of ``MODELS`` or ``module:function``.
        checkpoint: its weights file; None for a model without one.
        device: "auto" or a torch device.
        settings: further arguments of the model's function; files among them count by content.
        scores: folder for float16 class scores beside the masks, or None.
        compress: write scores as ``.npz`` instead of ``.npy``.
        overwrite: replace results of other settings.
    """

    model: str
    checkpoint: str | None = None
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: str | None = None
    compress: bool = False
    overwrite: bool = False


def label_one(model: Model, sample: Sample, out: Path, options: CoarseOptions) -> Outcome:
    """Label one picture, or tell why not."""
    start = time.perf_counter()
    try:
        image = read_image(_picture(sample))
        read = time.perf_counter()
        scores = model(image)
        if scores.ndim != 3 or scores.shape[1:] != image.shape[:2]:
            raise ConfigError(
                f"a model must return scores (K, {image.shape[0]}, {image.shape[1]}), got "
                f"{scores.shape}"
            )
        labels = scores.argmax(axis=0).astype(np.int32)
        scored = time.perf_counter()
        if options.scores is not None:
            write_atomic(_scores_path(sample, options), _encode_scores(scores, labels, options))
        data = encode_coarse(labels, len(scores), options.model)
        write_atomic(out / f"{sample.name}.png", data)
        row: Row = {
            "name": sample.name,
            "output": f"{sample.name}.png",
            "status": "labelled",
            "image_sha256": file_digest(_picture(sample)),
            "output_sha256": hashlib.sha256(data).hexdigest(),
        }
        seconds = {
            "read": read - start,
            "label": scored - read,
            "write": time.perf_counter() - scored,
        }
        return Outcome(row=row, seconds=seconds)
    except Exception as error:  # also the unforeseen: thousands of others wait
        with suppress(OSError):
            # The mask of a picture that has changed since must not stand for the new one.
            (out / f"{sample.name}.png").unlink(missing_ok=True)
        return Outcome(row={"name": sample.name, "error": explain(error)})


def is_good(out: Path, sample: Sample, options: CoarseOptions, row: Row) -> bool:
    """Tell whether the recorded mask is there, whole, and of this very picture."""
    try:
        return (
            (options.scores is None or _scores_path(sample, options).is_file())
            and row.get("output_sha256") == file_digest(out / f"{sample.name}.png")
            and row.get("image_sha256") == file_digest(_picture(sample))
        )
    except OSError:
        return False


def encode_coarse(labels: LabelMap, classes: int, model: str) -> bytes:
    """Return the PNG of a label map in the encoding that the model's community uses.

    Args:
        labels: (H, W) ids.
        classes: how many channels the scores have; grey ids of more than 255 take 16 bits.
        model: key of ``MODELS``; others are written as grey ids.
    """
    facts = describe_model(model)
    codec = facts.codec
    if codec == "index8" and classes > 255:  # 255 would be read as "ignore"
        codec = "index16"
    dtype = "uint16" if codec == "index16" else "uint8"
    spec = LabelSpec(codec=codec, background=facts.background, ignore=None, dtype=dtype)
    return encode_labels(".png", labels, spec)


def _encode_scores(scores: Floats, labels: LabelMap, options: CoarseOptions) -> bytes:
    """Return scores as float16, whose argmax is still the label map."""
    limit = np.finfo(np.float16).max
    rounded = swap_scores(labels, scores.clip(-limit, limit).astype(np.float16))
    buffer = io.BytesIO()
    if options.compress:
        np.savez_compressed(buffer, scores=rounded)
    else:
        np.save(buffer, rounded)
    return buffer.getvalue()


def _scores_path(sample: Sample, options: CoarseOptions) -> Path:
    return Path(options.scores or "") / (sample.name + (".npz" if options.compress else ".npy"))


def _picture(sample: Sample) -> Path:
    if sample.image is None:
        raise InputError(f"sample {sample.name!r} must have a picture")
    return sample.image

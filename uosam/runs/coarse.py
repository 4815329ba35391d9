"""Label a folder of pictures with a USS model: the masks that ``refine`` starts from.

The models live in ``uosam.baselines``; the table names them as text, and a reference
``module:function`` brings a model of one's own. The function gets the checkpoint, a device and
settings, and returns a function from (H, W, 3) RGB to scores (K, H, W). One with a parameter
``pictures`` gets all paths: its classes exist for a set only.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uosam.errors import ConfigError, InputError
from uosam.io.codecs import encode_labels
from uosam.io.images import read_image
from uosam.io.soft import swap_scores
from uosam.lookup import lookup
from uosam.runs.coarse_models import (
    REFERENCES,
    CoarseOptions,
    Model,
    describe_model,
    find_model,
    make_header,
    needs_set,
)
from uosam.runs.engine import run_folder
from uosam.runs.rows import Row
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Floats, Image, LabelMap, LabelSpec, Sample


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    """What a model says of a picture: (K, H, W) scores, the best of them, and seconds it took."""

    scores: Floats
    labels: LabelMap
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CoarseTask(Task):
    """Label one picture.

    Attributes:
        folder: of the masks.
        options: which model, and what else is written.
        pictures: all of them, for models whose classes exist for a set only.
    """

    titles: ClassVar[Mapping[str, str]] = {"labelled": "labelled"}
    statuses: ClassVar[tuple[str, ...]] = ("labelled",)
    folder: Path
    options: CoarseOptions
    pictures: tuple[Sample, ...]

    @property
    def out(self) -> Path:
        """Folder of the masks."""
        return self.folder

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.options.overwrite

    def header(self) -> Row:
        """Return model, settings, weights and version."""
        return make_header(self.options, self.pictures)

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the picture."""
        if sample.image is None:
            raise InputError(f"sample {sample.name!r} must have a picture")
        return {"image": sample.image}

    def output(self, sample: Sample) -> Path:
        """Return where the mask goes."""
        return self.folder / f"{sample.name}.png"

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return where the scores go, if they are written."""
        if self.options.scores is None:
            return ()
        suffix = ".npz" if self.options.compress else ".npy"
        return (Path(self.options.scores) / f"{sample.name}{suffix}",)

    def load(self) -> Model:
        """Load the model, and fit it to the pictures if it needs that."""
        return find_model(self.options, self.pictures)()

    def read(self, sample: Sample) -> Image:
        """Read the picture."""
        return read_image(self.inputs(sample)["image"])

    def compute(self, model: Model, read: Image) -> Labelled:
        """Label one picture."""
        start = time.perf_counter()
        scores = model(read)
        if scores.ndim != 3 or scores.shape[1:] != read.shape[:2]:
            raise ConfigError(
                f"a model must return scores (K, {read.shape[0]}, {read.shape[1]}), got "
                f"{scores.shape}"
            )
        labels = scores.argmax(axis=0).astype(np.int32)
        return Labelled(scores=scores, labels=labels, seconds=time.perf_counter() - start)

    def encode(self, sample: Sample, read: Image, result: Labelled) -> Encoded:
        """Encode mask and scores."""
        return Encoded(
            data=encode_coarse(
                result.labels,
                len(result.scores),
                self.options.model,
                self.options.settings,
                self.options.checkpoint,
            ),
            extras={
                path: _encode_scores(result.scores, result.labels, self.options)
                for path in self.extras(sample)
            },
            status="labelled",
            seconds={"label": result.seconds},
        )


def encode_coarse(
    labels: LabelMap,
    classes: int,
    model: str,
    settings: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
) -> bytes:
    """Return the PNG of a label map in the encoding that the model's community uses.

    Args:
        labels: (H, W) ids.
        classes: how many channels the scores have; grey ids of more than 255 take 16 bits.
        model: key of ``MODELS``; others are written as grey ids.
        settings: of the model.
        checkpoint: of the model.
    """
    facts = describe_model(model, settings, checkpoint)
    codec = facts.codec
    if codec == "index8" and classes > 255:  # 255 would be read as "ignore"
        codec = "index16"
    spec = LabelSpec(codec=codec, background=facts.background, ignore=None)
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


def label_folder(
    samples: Sequence[Sample],
    out: Path,
    options: CoarseOptions,
    *,
    unreadable: Mapping[str, str] | None = None,
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Label every picture into ``out``, skipping those that an earlier run has done.

    A mask goes to ``out / (name + ".png")``. One bad picture is a recorded failure.

    Args:
        samples: pictures, as ``find_pictures`` gives them.
        out: folder for masks and ``manifest.jsonl``.
        options: which model, and what else is written.
        unreadable: folders that could not be listed, with the reason.
        spread: which of the samples are done here.
        on_outcome: called with each outcome, in order.

    Raises:
        ConfigError: ``out`` holds other results, or the model or a setting is not known.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded.
    """
    find_model(options, samples)
    fitted = needs_set(lookup("model", options.model, REFERENCES), options)
    task = CoarseTask(folder=out, options=options, pictures=tuple(samples) if fitted else ())
    return run_folder(task, samples, failures=unreadable, spread=spread, on_outcome=on_outcome)

"""Give masks the names of their clusters: ids of equal name become one, and no model runs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image

import uosam
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import LabelFile, LabelOptions, encode_labels, read_with
from uosam.io.images import check_same_size, read_image
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs
from uosam.io.stores.mounts import at_hand, is_there
from uosam.regions.plans import Plan, plan_names, plan_target
from uosam.regions.tables import read_csv, read_order
from uosam.report.overlay import draw_labels
from uosam.runs.engine import run_folder
from uosam.runs.manifest import MANIFEST
from uosam.runs.rows import Row
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import IGNORE, Image, LabelMap, Sample

MARK = "names"
"""Entry of the manifest of named masks, by which they are known."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Mapped:
    """A mask and its picture, the latter where it is drawn on."""

    file: LabelFile
    image: Image | None


@dataclass(frozen=True, kw_only=True)
class ApplyTask(Task):
    """Rename the ids of one mask.

    Attributes:
        folder: of the named masks.
        plan: which id becomes which.
        labels: how masks are read.
        overlay: folder of pictures with the named map, or None.
        replaces: whether results of other settings are replaced.
    """

    titles: ClassVar[Mapping[str, str]] = {"named": "named"}
    statuses: ClassVar[tuple[str, ...]] = ("named",)
    folder: Path
    plan: Plan
    labels: LabelOptions
    overlay: Path | None = None
    replaces: bool = False

    @property
    def out(self) -> Path:
        """Folder of the named masks."""
        return self.folder

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.replaces

    def header(self) -> Row:
        """Return the plan, by which named masks are known."""
        plan = json.dumps([sorted(self.plan.ids.items()), sorted(self.plan.classes.items())])
        settings = {
            MARK: hashlib.sha256(plan.encode()).hexdigest(),
            "codec": self.labels.codec,
            "background": self.labels.background,
            "ignore": self.labels.ignore,
        }
        return {"uosam": uosam.__version__, "weights": "none", "settings": settings}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the mask, and the picture if it is drawn on."""
        if sample.coarse is None:
            raise InputError(f"sample {sample.name!r} must have a mask")
        files = {"mask": sample.coarse}
        return files | {"image": sample.image} if self.overlay and sample.image else files

    def output(self, sample: Sample) -> Path:
        """Return where the named mask goes: the name and suffix of the one that came."""
        return self.folder / (sample.name + self.inputs(sample)["mask"].suffix)

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return the picture for people."""
        return (self.overlay / f"{sample.name}.jpg",) if self.overlay and sample.image else ()

    def load(self) -> None:
        """Load nothing."""

    def read(self, sample: Sample) -> Mapped:
        """Read the mask, and the picture if it is drawn on."""
        paths = self.inputs(sample)
        file = read_with(paths["mask"], self.labels)
        image = read_image(paths["image"]) if "image" in paths else None
        if image is not None:
            check_same_size(paths["image"], image.shape[:2], paths["mask"], file.labels.shape)
        return Mapped(file=file, image=image)

    def compute(self, model: None, read: Mapped) -> LabelMap:
        """Return the map with new ids.

        Raises:
            InputError: an id of the mask has no name.
        """
        labels = read.file.labels
        present = np.unique(labels[labels != IGNORE]).tolist()
        lacking = [id_ for id_ in present if id_ not in self.plan.ids]
        if lacking:
            raise InputError(
                f"every id of a mask must have a row in the table of names, got none for "
                f"{', '.join(map(str, lacking[:5]))}; name these masks, or add rows"
            )
        named = np.full(labels.shape, IGNORE, np.int32)
        for id_ in present:
            named[labels == id_] = self.plan.ids[id_]
        return named

    def encode(self, sample: Sample, read: Mapped, result: LabelMap) -> Encoded:
        """Encode the map as the mask was."""
        spec = replace(read.file.spec, names=self.plan.classes)
        if spec.codec == "scores":
            raise InputError("class scores have a channel for each id; name their maps of ids")
        if spec.ignore is None and (result == IGNORE).any():
            spec = replace(spec, ignore=-1 if spec.codec == "npy" else 255)
        extras = {}
        if read.image is not None:
            background = (
                0 if 0 in self.plan.classes and self.plan.classes[0] == "background" else None
            )
            drawn = draw_labels(read.image, result, background=background)
            buffer = io.BytesIO()
            PIL.Image.fromarray(drawn).save(buffer, "JPEG", quality=92)
            extras = {path: buffer.getvalue() for path in self.extras(sample)}
        suffix = self.output(sample).suffix
        return Encoded(data=encode_labels(suffix, result, spec), extras=extras, status="named")


def make_plan(
    table: Path, target: str | None, labels: LabelOptions, samples: Sequence[Sample]
) -> Plan:
    """Read a table of names, and say which new id each old one gets.

    Names are numbered in the order of the vocabulary if ``names.json`` lies beside the table.

    Args:
        table: ``names.csv``, maybe edited.
        target: vocabulary of a ground truth whose ids are wanted, or None.
        labels: how masks are read; says which id is the background.
        samples: with masks; the first tells the background that its encoding has.

    Raises:
        InputError: the table or the vocabulary cannot be read.
        ConfigError: no name is a class of the ground truth.
    """
    names = read_csv(_read(table), str(table))
    background: int | None = None
    if samples and samples[0].coarse is not None:
        with at_hand(samples[0].coarse):
            background = read_with(samples[0].coarse, labels).spec.background
    if background in names:  # it was named like any other
        background = None
    if target is not None:
        vocabulary = read_vocabulary(target)
        words = [entry.words for entry in vocabulary.entries]
        return plan_target(
            names, words, has_background=vocabulary.background, background=background
        )
    beside = table.with_name("names.json")
    order = read_order(_read(beside), str(beside)) if is_there(beside) else []
    return plan_names(names, order, background=background)


_TARGETS = ("voc", "cocostuff", "cityscapes")


def read_classes(table: Path, target: str | None, protocol: str) -> dict[int, int]:
    """Return the class of a ground truth that the name of each id stands for.

    Args:
        table: ``names.csv``, maybe edited.
        target: vocabulary of the ground truth; None for that of the protocol.
        protocol: of the evaluation.

    Raises:
        InputError: the table or the vocabulary cannot be read.
        ConfigError: the protocol tells no names, or no name is a class of the ground truth.
    """
    family = protocol.replace("-", "")
    target = target or next((name for name in _TARGETS if family.startswith(name)), None)
    if target is None:
        raise ConfigError(
            f"--named needs the names of the ground truth's ids, which protocol {protocol} does "
            f"not tell; give --target-names {', '.join(_TARGETS)} or a file"
        )
    return dict(make_plan(table, target, LabelOptions(), ()).ids)


def _read(path: Path) -> bytes:
    """Read a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with at_hand(path):
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def apply_names(
    pairs: Pairs,
    out: Path,
    plan: Plan,
    labels: LabelOptions,
    *,
    overlay: Path | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Write every mask of ``pairs`` with its new ids into ``out``, and ``classes.txt``.

    Args:
        pairs: samples with a mask, and what found no partner.
        out: folder of the named masks.
        plan: which id becomes which.
        labels: how masks are read.
        overlay: folder for pictures with the named map drawn on, or None.
        overwrite: replace results of other settings.
        inputs: folders that must not be written into.
        spread: which of the samples are done here.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: the masks were named before, or ``out`` holds other results or is an input.
        InputError: ``out`` cannot be written.
    """
    folders = {"output": out} | ({"overlay": overlay} if overlay else {})
    check_folders(folders, inputs)
    for folder in inputs:
        _refuse_named(folder)
    task = ApplyTask(folder=out, plan=plan, labels=labels, overlay=overlay, replaces=overwrite)
    lines = [f"{id_} {name}" for id_, name in sorted(plan.classes.items())]
    return run_folder(
        task,
        pairs.samples,
        failures=pairs.unreadable,
        unpaired=[str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)],
        files={"classes.txt": ("\n".join(lines) + "\n").encode()},
        spread=spread,
        on_outcome=on_outcome,
    )


def _refuse_named(folder: Path) -> None:
    """Refuse masks whose ids are those of names already.

    Raises:
        ConfigError: the manifest beside them says so.
    """
    try:
        with at_hand(folder / MANIFEST), (folder / MANIFEST).open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        named = MARK in header["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if named:
        raise ConfigError(
            f"{folder}: expected masks with the ids of clusters, got masks that were named "
            "already; give the folder that was named"
        )

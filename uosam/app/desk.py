"""What the app does with one person's picture: read, click, refine, name; no widgets here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.api.masks import to_labels
from uosam.api.refiner import Refiner
from uosam.app.words import say
from uosam.backends.models import MODELS
from uosam.errors import ConfigError, InputError
from uosam.geometry.render import render
from uosam.io.codecs import LabelFile
from uosam.io.depth import read_depth
from uosam.io.images import read_image
from uosam.structures import Embedding, Image, LabelMap, LabelSpec, Mask, Prompts, Refinement

KINDS = ("inside", "outside", "corner of a box")
INKS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48))
"""Colours to draw with; each is an object of its own."""


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """What the app is given when it starts.

    Attributes:
        models: segmenters to choose from, the first at first.
        device: "auto" or a torch device.
        names: folder of an image-text model, or None; "imagenet" for the classifier from pip.
        captions: folder of an image-to-text model, or None.
        most_pixels: of a picture.
        most_megabytes: of an upload.
        most_pictures: of an archive.
    """

    models: tuple[str, ...] = ("tiny", "graphcut")
    device: str = "auto"
    names: str | None = None
    captions: str | None = None
    most_pixels: int = 30_000_000
    most_megabytes: int = 200
    most_pictures: int = 500

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: no model, or a limit below 1.
        """
        if not self.models:
            raise ConfigError("the app needs a model, got none; such as --model tiny")
        for limit in ("most_pixels", "most_megabytes", "most_pictures"):
            if getattr(self, limit) < 1:
                raise ConfigError(f"{limit} must be 1 or more, got {getattr(self, limit)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Click:
    """One click on a picture: x, y in pixels and one of ``KINDS``."""

    x: float
    y: float
    kind: str = KINDS[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sheet:
    """What one person has on the desk; a new value after every step.

    Attributes:
        image: (H, W, 3) RGB.
        file: the coarse mask; None until there is one.
        stem: of the picture's file name, for the download.
        suffix: of the mask's file.
        clicks: of the object that is being clicked.
        found: (H, W) answer to the clicks, or None.
        result: of the last refinement, or None.
        embedded: the picture as the segmenter of that name encoded it for the last click, or None.
    """

    image: Image
    file: LabelFile | None = None
    stem: str = "picture"
    suffix: str = ".png"
    clicks: tuple[Click, ...] = ()
    found: Mask | None = None
    result: Refinement | None = None
    embedded: tuple[str, Embedding] | None = None

    @property
    def coarse(self) -> LabelMap:
        """(H, W) ids of the mask so far, 0 where there is none."""
        if self.file is None:
            return np.zeros(self.image.shape[:2], np.int32)
        return self.file.labels


@dataclass(eq=False)
class Desk:
    """The models, loaded once and used by one person at a time; it keeps nobody's pictures."""

    options: AppOptions
    _refiners: dict[tuple[str, int], Refiner] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open_picture(self, path: str | Path) -> Sheet:
        """Read a picture.

        Raises:
            InputError: it cannot be read, or is too large.
        """
        image = read_image(Path(path))
        height, width = image.shape[:2]
        if height * width > self.options.most_pixels:
            raise InputError(
                f"the picture has {height * width / 1e6:.0f} million pixels, the app takes up to "
                f"{self.options.most_pixels / 1e6:.0f}; make it smaller, or use 'uosam refine'"
            )
        return Sheet(image=image, stem=Path(path).stem)

    def open_mask(self, sheet: Sheet, path: str | Path) -> Sheet:
        """Read the mask of the picture, in any encoding that ``uosam refine`` takes.

        Raises:
            InputError: it cannot be read, or is of another size.
        """
        file = to_labels(Path(path))
        if file.labels.shape != sheet.image.shape[:2]:
            raise InputError(
                f"the mask must have the size of the picture {sheet.image.shape[:2]} (H, W), got "
                f"{file.labels.shape}"
            )
        return replace(sheet, file=file, suffix=Path(path).suffix, result=None)

    def take_drawing(self, sheet: Sheet, layers: Sequence[NDArray[np.uint8]]) -> Sheet:
        """Take what was drawn as the mask: each colour is an object.

        Args:
            sheet: with the picture.
            layers: (H, W, 4) RGBA, at the size of the picture or another.

        Raises:
            InputError: nothing was drawn.
        """
        height, width = sheet.image.shape[:2]
        labels = np.zeros((height, width), np.int32)
        for layer in layers:
            rows = np.arange(height) * layer.shape[0] // height
            cols = np.arange(width) * layer.shape[1] // width
            shown = layer[rows[:, None], cols[None]].astype(np.int32)
            distance = [np.abs(shown[..., :3] - ink).sum(axis=-1) for ink in INKS]
            nearest = np.argmin(distance, axis=0).astype(np.int32) + 1
            drawn = shown[..., 3] > 127
            labels[drawn] = nearest[drawn]
        if not labels.any():
            raise InputError("nothing was drawn; draw over each object, one colour for each")
        return replace(sheet, file=_as_file(labels), suffix=".png", result=None)

    def click(self, sheet: Sheet, click: Click, model: str, level: int) -> Sheet:
        """Ask for the mask under all clicks so far.

        Args:
            sheet: with the picture.
            click: the newest.
            model: name of the segmenter.
            level: of granularity, 0 for the segmenter's choice.
        """
        clicks = (*sheet.clicks, click)
        prompts = to_prompts(clicks, level)
        if prompts is None:
            return replace(sheet, clicks=clicks)
        backend = self._refiner(model, 0).backend
        with self._lock:
            embedded = sheet.embedded
            if embedded is None or embedded[0] != model:
                embedded = model, backend.embed(sheet.image)
            found = backend.decode(embedded[1], prompts)
        best = found.masks[int(np.argmax(found.scores))] if len(found) else None
        return replace(sheet, clicks=clicks, found=best, embedded=embedded)

    def add_object(self, sheet: Sheet) -> Sheet:
        """Make the clicked mask an object of the coarse map.

        Raises:
            InputError: nothing was clicked.
        """
        if sheet.found is None:
            raise InputError("no mask is clicked yet; click on an object first")
        labels = sheet.coarse.copy()
        labels[sheet.found] = labels.max(initial=0) + 1
        return replace(sheet, file=_as_file(labels), suffix=".png", clicks=(), found=None)

    def refine(self, sheet: Sheet, model: str, level: int) -> Sheet:
        """Sharpen the mask; a clicked one that was not added yet is taken as it is.

        Raises:
            InputError: there is no mask.
            ConfigError: the model has no such level.
        """
        if sheet.found is not None:
            sheet = self.add_object(sheet)
        if sheet.file is None:
            raise InputError("there is no mask yet; give a file, draw, or click on objects")
        refiner = self._refiner(model, level)
        with self._lock:
            result = refiner(sheet.image, sheet.file.stored, ignore=sheet.file.spec.ignore)
        return replace(sheet, result=result)

    def put_into_words(self, sheet: Sheet, vocabulary: str | None = None) -> list[list[str]]:
        """Return id, name and phrase of every class of the result, as far as models are given.

        Args:
            sheet: with a result.
            vocabulary: as for ``say``.

        Raises:
            InputError: there is no result yet.
            ConfigError: the model does not know one of the names.
        """
        result = sheet.result
        if result is None:
            raise InputError("there is no result yet; refine first")
        options = self.options
        with self._lock:
            return say(
                sheet.image,
                result.ids,
                options.names,
                options.captions,
                vocabulary,
                device=options.device,
            )

    def view_depth(self, sheet: Sheet, path: str | Path) -> Image:
        """Draw a depth file of the picture: near is bright.

        Raises:
            InputError: it is none, or of another size.
            ConfigError: matplotlib is not installed.
        """
        return render(read_depth(Path(path), hw=sheet.image.shape[:2], resize=True))

    def _refiner(self, model: str, level: int) -> Refiner:
        if model not in self.options.models:
            raise ConfigError(f"the app offers {', '.join(self.options.models)}, got {model!r}")
        with self._lock:
            if (model, level) not in self._refiners:
                more: dict[str, Any] = {"local_region": {"levels": [level]}} if level else {}
                made = Refiner(model, device=self.options.device, **more)
                self._refiners[model, level] = made
            return self._refiners[model, level]


def levels_of(model: str) -> int:
    """Return how many levels of granularity a model has; 0 for none or unknown ones."""
    found = MODELS.get(model)
    return found.levels if found else 0


def to_prompts(clicks: Sequence[Click], level: int) -> Prompts | None:
    """Turn clicks into one question; None while there is only a corner of a box.

    >>> to_prompts([Click(x=1, y=2, kind="corner of a box")], 0) is None
    True
    """
    points = [click for click in clicks if click.kind != KINDS[2]]
    corners = [click for click in clicks if click.kind == KINDS[2]][-2:]
    if not points and len(corners) < 2:
        return None
    boxes = None
    if len(corners) == 2:
        xs, ys = sorted(c.x for c in corners), sorted(c.y for c in corners)
        boxes = np.array([[xs[0], ys[0], xs[1], ys[1]]], np.float32)
    return Prompts(
        points=np.array([[(c.x, c.y) for c in points]], np.float32).reshape(1, -1, 2),
        point_labels=np.array([[int(c.kind == KINDS[0]) for c in points]], np.int8),
        boxes=boxes,
        labels=np.zeros(1, np.int32),
        levels=np.array([[level]], np.int8) if level else None,
    )


def _as_file(labels: LabelMap) -> LabelFile:
    spec = LabelSpec(codec="index8", ignore=255)
    return LabelFile(labels=labels, spec=spec, stored=labels.astype(np.uint8))

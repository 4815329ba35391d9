"""Score masks from Python: folders or arrays, at once or as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from uosam.api.masks import to_labels
from uosam.api.pictures import to_array
from uosam.errors import ConfigError, InputError, unknown
from uosam.evaluation.conclude import conclude, judge
from uosam.evaluation.evaluate import evaluate as evaluate_folders
from uosam.evaluation.files import Counting, check_prediction, check_target, count_maps
from uosam.evaluation.types import EvaluateOptions, Evaluation
from uosam.io.codecs import Choice
from uosam.metrics.counts import PairCounts, collect
from uosam.structures import LabelMap

if TYPE_CHECKING:
    from uosam.api.pictures import MaskLike

    Masks = MaskLike | Sequence[MaskLike]

_OF_FILES = ("thresholds", "boundary_f")
"""Options that read every file once more."""


class Scores:
    """Scores of masks that come one after the other, by a published protocol.

    Counts are kept, never pixels: an image takes a few hundred bytes for each pair of labels.

    Args:
        protocol: as ``uosam eval --list`` names it; "plain" takes ids for classes.
        options: further attributes of ``EvaluateOptions``, such as ``background="none"``,
            ``trimap=(1, 2)`` or ``resamples=0``.

    Raises:
        ConfigError: an option is unknown, out of range, or only for folders.

    >>> import numpy as np
    >>> scores = Scores()
    >>> scores.update(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]))
    >>> scores.update(np.array([[[0, 2, 2]], [[1, 1, 0]]]), np.array([[[0, 2, 2]], [[1, 1, 0]]]))
    >>> len(scores), round(scores.compute()["mIoU"], 4)
    (3, 0.8333)
    """

    def __init__(self, protocol: str = "plain", **options: Any) -> None:
        self.options = _options(protocol, options)
        for name in _OF_FILES:
            if getattr(self.options, name):
                raise ConfigError(f"{name} reads files once more; give folders to uosam.evaluate")
        self._counting = Counting(
            protocol=self.options.resolve(), trimap=tuple(sorted(set(self.options.trimap)))
        )
        self._counts: list[PairCounts] = []

    def update(self, predictions: Masks, targets: Masks, *, ignore: Choice = "default") -> None:
        """Count one image, or a batch of them.

        Args:
            predictions: ids (H, W) or class scores (C, H, W) as ``uosam.refine`` takes masks; a
                batch has one axis more in front, or is a sequence.
            targets: ids (H, W), or a batch of as many.
            ignore: stored value of the ground truth that is not scored, None for none; by default
                255 in uint8, 65535 in uint16, 1000 under a LUSS protocol, and negative ids. Where
                prediction and ground truth hold only 0 and 255, 255 is an object.

        Raises:
            InputError: not as many predictions as targets, a mask is unusable or holds ids that
                the protocol does not have, or the sizes differ; nothing of the batch is counted.
        """
        pairs = list(_pairs(predictions, targets))
        self._counts += [self._count(*pair, ignore) for pair in pairs]

    def compute(self) -> dict[str, float]:
        """Return every score of all images so far by name, in [0, 1]; nan where undefined.

        Raises:
            InputError: there is no image yet.
        """
        return self.evaluation(resamples=0).scores

    def evaluation(self, *, resamples: int | None = None) -> Evaluation:
        """Return scores with intervals, classes, objects and notes; printed, it is a table.

        Args:
            resamples: draws of the bootstrap in place of the option's.

        Raises:
            InputError: there is no image yet.
        """
        if not self._counts:
            raise InputError("expected at least one image to score, got none; call update first")
        options = self.options
        if resamples is not None:
            options = replace(options, resamples=resamples)
        names = tuple(f"{index:06d}" for index in range(len(self)))
        table = collect(zip(names, self._counts, strict=True))
        protocol = self._counting.protocol
        return conclude(
            [judge("masks", {None: table}, protocol, options)], names, protocol, options
        )

    def merge(self, other: Scores) -> None:
        """Add the images of another process or part of a set, after those that are here.

        Raises:
            ConfigError: the other was counted by another protocol or with other options.
        """
        if other.options != self.options:
            raise ConfigError("scores of different protocols or options cannot be merged")
        self._counts += other._counts

    def reset(self) -> None:
        """Forget all images."""
        self._counts = []

    def __len__(self) -> int:
        """Return the number of images so far."""
        return len(self._counts)

    def __repr__(self) -> str:
        """Name the protocol and count the images."""
        return f"Scores({self.options.protocol!r}, images={len(self)})"

    def _count(self, prediction: MaskLike, target: MaskLike, ignore: Choice) -> PairCounts:
        protocol = self._counting.protocol
        blank: Choice = "default"
        if protocol.luss:
            # In LUSS 1000 means "ignore" in ground truth and an ordinary id elsewhere.
            blank, ignore = None, 1000 if ignore == "default" else ignore
        raw = to_labels(prediction, ignore=None).labels, to_labels(target, ignore=None).labels
        if protocol.classes is None and ignore == "default" and all(map(_is_switch, raw)):
            pred, truth = ((labels > 0).astype(np.int32) for labels in raw)
        else:
            pred = to_labels(prediction, ignore=blank).labels
            truth = to_labels(target, ignore=ignore).labels
        pred = check_prediction("prediction", pred, protocol)
        truth = check_target("ground truth", truth, protocol)
        return count_maps([pred], truth, self._counting)[0]


def evaluate(
    predictions: Masks | Sequence[str | os.PathLike[str]],
    targets: Masks,
    protocol: str = "plain",
    **options: Any,
) -> Evaluation:
    """Score masks against ground truth, and methods against the first of them.

    Args:
        predictions: a folder or file, or a list of them, one for each method; or arrays as
            ``Scores.update`` takes them, of one method.
        targets: folder or file of the ground truth, or arrays of it.
        protocol: as ``uosam eval --list`` names it; "plain" takes ids for classes.
        options: further attributes of ``EvaluateOptions``, such as ``workers=4``.

    Returns:
        Scores, intervals, classes, objects, comparisons and notes; printed, the tables of ``uosam
        eval``. ``scores`` has the numbers of the first method, ``methods[1].values`` those of the
        second.

    Raises:
        InputError: a file or array is missing, extra or unusable; a line for each.
        ConfigError: an option is unknown or out of range.

    >>> import numpy as np
    >>> evaluate(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]])).scores["pixel_accuracy"]
    0.75
    """
    if not isinstance(targets, (str, os.PathLike)):
        scores = Scores(protocol, **options)
        scores.update(predictions, targets)
        return scores.evaluation()
    several: Any = predictions
    paths = []
    for entry in [several] if isinstance(several, (str, os.PathLike)) else several:
        if not isinstance(entry, (str, os.PathLike)):
            raise InputError(
                "expected folders of predictions, since the ground truth is one, got "
                f"{type(entry).__name__}; give both as folders or both as arrays"
            )
        paths.append(Path(entry))
    return evaluate_folders(paths, Path(targets), _options(protocol, options))


def _options(protocol: str, options: dict[str, Any]) -> EvaluateOptions:
    known = [field.name for field in fields(EvaluateOptions)]
    for name in options:
        if name not in known:
            raise unknown("option of an evaluation", name, known)
    for name in ("thresholds", "trimap"):
        if name in options:
            options = {**options, name: tuple(options[name])}
    chosen = EvaluateOptions(protocol=protocol, **options)
    chosen.resolve()
    return chosen


def _pairs(predictions: Masks, targets: Masks) -> Iterable[tuple[MaskLike, MaskLike]]:
    """Split a batch into images; the ground truth tells which is one."""
    if _is_one(targets):
        return [(predictions, targets)]  # type: ignore[list-item]
    pred, target = (
        list(side) if isinstance(side, (list, tuple)) else list(to_array(side, name))
        for side, name in ((predictions, "predictions"), (targets, "ground truth"))
    )
    if len(pred) != len(target):
        raise InputError(
            f"expected a prediction for each of {len(target)} ground truths, got {len(pred)}"
        )
    return zip(pred, target, strict=True)


def _is_one(targets: Masks) -> bool:
    if isinstance(targets, (str, os.PathLike, PIL.Image.Image)):
        return True
    if isinstance(targets, (list, tuple)):
        return False
    array = to_array(targets, "ground truth")
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8)


def _is_switch(labels: LabelMap) -> bool:
    """Tell whether a map holds only one id besides 0, and that is 1 or 255."""
    top = int(labels.max(initial=0))
    return top in (0, 1, 255) and bool(np.isin(labels, (0, top)).all())

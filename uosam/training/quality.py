"""How well a promptable model answers on pictures with ground truth, as SAM papers report it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.stats import spearmanr

from uosam.labels import areas, box, components, iou
from uosam.pipeline import RefineOptions, refine
from uosam.stages.prompts import distance_points
from uosam.structures import IGNORE, Backend, Floats, Image, LabelMap, Mask, Prompts, Proposals

_LEAST_SHARE = 0.001  # of the picture; smaller objects are not asked for


def find_objects(target: LabelMap, background: int | None) -> list[Mask]:
    """List the connected parts of all classes, of at least a thousandth of the picture."""
    least = max(1, round(_LEAST_SHARE * target.size))
    labels = [label for label in areas(target) if label not in (background, IGNORE)]
    return [part for label in labels for part in components(target == label, least)]


def prompt_quality(
    pairs: Iterable[tuple[Image, LabelMap]], backend: Backend, background: int | None
) -> dict[str, float]:
    """Ask for every object by one click and by its box.

    Args:
        pairs: pictures and ground truth.
        backend: the model.
        background: id that is no object, or None.

    Returns:
        means over objects in [0, 1]: "click" and "box", IoU of the mask the model deems best;
        "click oracle" and "box oracle", IoU of the best of its three; "objects", their number; and
        "spearman", rank correlation of estimated and real IoU over all masks. nan without objects.
    """
    found: dict[str, list[float]] = {"click": [], "box": [], "click oracle": [], "box oracle": []}
    estimates: list[float] = []
    overlaps: list[float] = []
    for image, target in pairs:
        objects = find_objects(target, background)
        if not objects:
            continue
        embedding = backend.embed(image)
        for kind, prompts in (("click", _clicks(objects)), ("box", _boxes(objects))):
            answers = backend.decode(embedding, prompts)
            real = _overlaps(answers, objects, target)
            estimates += answers.scores.tolist()
            overlaps += real.tolist()
            for row in range(len(objects)):
                mine = np.flatnonzero(answers.row == row)
                found[kind].append(real[mine[answers.scores[mine].argmax()]] if len(mine) else 0.0)
                found[f"{kind} oracle"].append(real[mine].max() if len(mine) else 0.0)
    if not overlaps:
        return {**dict.fromkeys(found, float("nan")), "objects": 0.0, "spearman": float("nan")}
    means = {name: float(np.mean(values)) for name, values in found.items()}
    varied = min(len(set(estimates)), len(set(overlaps))) > 1
    correlation = float(spearmanr(estimates, overlaps).statistic) if varied else float("nan")
    return {**means, "objects": float(len(found["click"])), "spearman": correlation}


def _clicks(objects: list[Mask]) -> Prompts:
    return Prompts(
        points=np.stack([distance_points(mask, 1, 0)[0] for mask in objects]),
        point_labels=np.ones((len(objects), 1), np.int8),
        labels=np.full(len(objects), IGNORE, np.int32),
    )


def _boxes(objects: list[Mask]) -> Prompts:
    return Prompts(
        points=np.zeros((len(objects), 0, 2), np.float32),
        point_labels=np.zeros((len(objects), 0), np.int8),
        boxes=np.stack([box(mask) for mask in objects]),
        labels=np.full(len(objects), IGNORE, np.int32),
    )


def _overlaps(answers: Proposals, objects: list[Mask], target: LabelMap) -> Floats:
    """IoU of every answer with its object; ignored pixels count for neither."""
    known = target != IGNORE
    pairs = zip(answers.masks, answers.row.tolist(), strict=True)
    return np.array([iou(mask & known, objects[row]) for mask, row in pairs], np.float32)


def refinement_quality(
    triples: Iterable[tuple[Image, LabelMap, LabelMap]],
    backend: Backend,
    options: RefineOptions,
    background: int | None,
) -> Mapping[str, float]:
    """Refine coarse maps and compare objects with ground truth before and after.

    Args:
        triples: pictures, ground truth and coarse maps.
        backend: the model.
        options: of the refinement.
        background: id that is no object, or None.

    Returns:
        means over objects: "coarse" and "refined" IoU in [0, 1]; nan without objects.
    """
    before, after = [], []
    for image, target, coarse in triples:
        refined = refine(image, coarse, backend, options, background=background).labels
        known = target != IGNORE
        for label in areas(target):
            if label not in (background, IGNORE):
                before.append(iou((coarse == label) & known, target == label))
                after.append(iou((refined == label) & known, target == label))
    mean = (float(np.mean(values)) if values else float("nan") for values in (before, after))
    return dict(zip(("coarse", "refined"), mean, strict=True))

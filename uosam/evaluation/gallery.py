"""Pictures of the images that a method changed most, for better and for worse."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from uosam.errors import InputError
from uosam.evaluation.files import map_labels, read_target
from uosam.evaluation.types import Evaluation, MethodResult
from uosam.io.atomic import write_atomic
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.metrics.scores import Doubles
from uosam.report.overlay import draw_labels
from uosam.structures import Image, LabelMap
from uosam.text import to_markdown

SHOWN = 8
"""Images of each kind, best and worst."""

_GAP = 6
_STRIP = 22


def write_gallery(evaluation: Evaluation, folder: Path, images: Path | None = None) -> int:
    """Draw prediction, first method and truth of the best and worst images, with an index page.

    Images are ranked by the mean IoU of their objects: of one method by its value, of every other
    method by its change against the first. Ties keep the order of names.

    Args:
        evaluation: with one or more methods.
        folder: gets ``index.md`` and a picture for each image shown.
        images: folder of the photographs; without it label maps are drawn on grey.

    Returns:
        Number of pictures.

    Raises:
        InputError: a photograph is missing, unreadable or of another size than its ground truth,
            or the evaluation is of arrays.
        OSError: a file cannot be written.
    """
    if not evaluation.jobs:
        raise InputError("a gallery needs the files of an evaluation; give folders, not arrays")
    photographs = _photographs(evaluation, images)
    first, *others = evaluation.methods
    lines, count = ["# Best and worst images", ""], 0
    drawn_names: set[str] = set()
    for method in others or [first]:
        base = _image_means(first, len(evaluation.jobs)) if others else 0.0
        change = 100 * (_image_means(method, len(evaluation.jobs)) - base)
        order = [int(i) for i in np.argsort(-change, kind="stable") if not np.isnan(change[i])]
        if others:
            order = [i for i in order if change[i] != 0]
        half = len(order) // 2
        best, worst = order[: min(SHOWN, len(order) - half)], order[::-1][: min(SHOWN, half)]
        for kind, chosen in (("best", best), ("worst", worst)):
            lines += [f"## {to_markdown(method.name)}: {kind}", ""]
            for rank, index in enumerate(chosen, start=1):
                job = evaluation.jobs[index]
                drawn = _draw(evaluation, index, method, photographs.get(job.target))
                safe = re.sub(r"[^A-Za-z0-9.-]", "_", method.name)
                name = f"{safe}_{kind}_{rank}.jpg"
                if name in drawn_names:  # of a method whose name differs in other characters only
                    name = f"{safe}_{kind}_{rank}-{count}.jpg"
                drawn_names.add(name)
                write_atomic(folder / name, _jpeg(drawn))
                score = f"{change[index]:+.1f} points" if others else f"{change[index]:.1f} %"
                title = to_markdown(job.name)
                lines += [f"![{title}]({name})", "", f"{title}: object IoU {score}", ""]
                count += 1
    write_atomic(folder / "index.md", ("\n".join(lines) + "\n").encode())
    return count


def _photographs(evaluation: Evaluation, images: Path | None) -> dict[Path, Path]:
    """Find the photograph of each ground truth."""
    if images is None or evaluation.target is None:
        return {}
    found = find_pairs(images, evaluation.target)
    photographs = {s.coarse: s.image for s in found.samples if s.coarse and s.image}
    missing = [str(job.target) for job in evaluation.jobs if job.target not in photographs]
    if missing:
        raise InputError(
            f"{images}: expected a photograph for each ground truth, none for {missing[0]}"
            + (f" and {len(missing) - 1} more" if missing[1:] else "")
        )
    return photographs


def _image_means(method: MethodResult, images: int) -> Doubles:
    """Return the mean object IoU of each image; nan without objects."""
    objects = method.summary.objects
    total = np.bincount(objects.image, objects.iou, minlength=images)
    count = np.bincount(objects.image, minlength=images)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _draw(
    evaluation: Evaluation, index: int, method: MethodResult, photograph: Path | None
) -> Image:
    job, protocol = evaluation.jobs[index], evaluation.protocol
    truth = read_target(job.target, protocol)
    shown = dict.fromkeys((evaluation.methods[0].name, method.name))
    panels: list[tuple[str, LabelMap]] = []
    target = truth
    for one, path in zip(evaluation.methods, job.preds, strict=True):
        if one.name in shown:
            pred, target = map_labels(
                path, truth, protocol, one.summary.match.classes, one.threshold
            )
            panels.append((one.name, pred))
    panels.append(("ground truth", target))
    ground = np.full((*target.shape, 3), 128, np.uint8)
    if photograph is not None:
        picture = read_image(photograph)
        if picture.shape[:2] != truth.shape:
            raise InputError(
                f"{photograph}: expected the size {truth.shape} of {job.target}, got "
                f"{picture.shape[:2]}"
            )
        if truth.shape == target.shape:
            ground = picture
    drawn = [
        _titled(draw_labels(ground, labels, background=protocol.background), title)
        for title, labels in panels
    ]
    gap = np.full((len(drawn[0]), _GAP, 3), 255, np.uint8)
    parts = [part for panel in drawn for part in (panel, gap)][:-1]
    return np.concatenate(parts, axis=1)


def _titled(panel: Image, title: str) -> Image:
    strip = np.full((_STRIP, panel.shape[1], 3), 255, np.uint8)
    text = title.encode("ascii", "replace").decode()
    cv2.putText(strip, text, (3, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])


def _jpeg(picture: Image) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()

"""Pictures of the images that a method changed most, for better and for worse; a page of all."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from uosam.datasets.class_names import ClassName, find_class_names
from uosam.errors import InputError
from uosam.evaluation.files import map_labels, read_target
from uosam.evaluation.report import comparison_table, score_table
from uosam.evaluation.types import Evaluation, MethodResult
from uosam.io.atomic import write_atomic
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.metrics.scores import Doubles
from uosam.report.overlay import draw_labels
from uosam.report.page import BUDGET, Page, encode_page, make_entry
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


def write_page(
    evaluation: Evaluation,
    path: Path,
    images: Path | None = None,
    names: Mapping[int, ClassName] | None = None,
) -> None:
    """Write one HTML page of all images, best and worst changes first by choice.

    Args:
        evaluation: with one or more methods.
        path: of the page.
        images: folder of the photographs; without it label maps are drawn on grey.
        names: class id to name; None takes those that are known.

    Raises:
        InputError: as ``write_gallery``.
        OSError: the file cannot be written.
    """
    if not evaluation.jobs:
        raise InputError("a page needs the files of an evaluation; give folders, not arrays")
    if names is None:
        names = find_class_names(evaluation.protocol, evaluation.target)
    photographs = _photographs(evaluation, images)
    count = len(evaluation.jobs)
    means = [_image_means(method, count) for method in evaluation.methods]
    titles = [f"IoU of {method.name}" for method in evaluation.methods]
    changes = [f"{m.name} - {evaluation.methods[0].name}" for m in evaluation.methods[1:]]
    entries = []
    for index, job in enumerate(evaluation.jobs):
        ground, panels = _panels(evaluation, index, evaluation.methods, photographs.get(job.target))
        facts: dict[str, float | None] = {
            name: _finite(mean[index] - means[0][index])
            for name, mean in zip(changes, means[1:], strict=True)
        }
        facts |= {t: _finite(mean[index]) for t, mean in zip(titles, means, strict=True)}
        entries.append(
            make_entry(
                job.name,
                ground,
                dict(panels),
                BUDGET / count,
                facts=facts,
                background=evaluation.protocol.background,
            )
        )
    histograms = {
        title: [value for entry in entries if (value := entry.facts[title]) is not None]
        for title in [*changes, *titles]
    }
    header, rows = score_table(evaluation)
    tables = [("Scores", header, rows)]
    if evaluation.comparisons:
        tables.append(("Changes", *comparison_table(evaluation)))
    tables.append(_class_rows(evaluation, names))
    page = Page(
        title="uosam eval",
        summary=[("images", str(count)), ("protocol", evaluation.options.protocol)],
        sort=[*changes, *titles],
        units={**dict.fromkeys(changes, "points"), **dict.fromkeys(titles, "%")},
        layers=[name for name, _ in panels],
        histograms=histograms,
        tables=tables,
        names={i: one.name for i, one in names.items() if one.name},
        notes=evaluation.notes,
    )
    write_atomic(path, encode_page(page, entries))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _class_rows(
    evaluation: Evaluation, names: Mapping[int, ClassName]
) -> tuple[str, list[str], list[list[str]]]:
    """Return the table of classes: IoU of every method."""
    first = evaluation.methods[0].summary.classes
    columns = ["id", "class", "images", *(f"IoU of {m.name}" for m in evaluation.methods)]
    rows = []
    for row, label in enumerate(first.label.tolist()):
        values = [method.summary.classes.iou[row] for method in evaluation.methods]
        cells = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
        name = names.get(label)
        rows.append([str(label), name.name if name else "", str(first.images[row]), *cells])
    return "Classes", columns, rows


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


def _panels(
    evaluation: Evaluation, index: int, methods: Sequence[MethodResult], photograph: Path | None
) -> tuple[Image, list[tuple[str, LabelMap]]]:
    """Return what is drawn on, and the maps of methods and truth by title."""
    job, protocol = evaluation.jobs[index], evaluation.protocol
    truth = read_target(job.target, protocol)
    shown = {method.name for method in methods}
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
    return ground, panels


def _draw(
    evaluation: Evaluation, index: int, method: MethodResult, photograph: Path | None
) -> Image:
    protocol = evaluation.protocol
    ground, panels = _panels(evaluation, index, (evaluation.methods[0], method), photograph)
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

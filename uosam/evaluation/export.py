"""Evaluation results for programs: data frames, CSV, Parquet and JSON. Computes no score."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uosam import __version__
from uosam.datasets.class_names import ClassName, find_class_names
from uosam.errors import ConfigError, InputError
from uosam.evaluation.types import Comparison, Evaluation, MethodResult
from uosam.io.atomic import write_atomic
from uosam.io.outputs import check_outputs
from uosam.metrics.bootstrap import Interval
from uosam.report.frames import write_frame

JSON_SCHEMA = "uosam.evaluation/1"
"""Name and version of the JSON layout; the number changes when a key changes its meaning."""

if TYPE_CHECKING:
    import pandas as pd


def score_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row for each method and score, in percent.

    Columns: method, score, value, low, high (nan without an interval).
    """
    import pandas as pd

    rows = []
    for method in evaluation.methods:
        for key, score in method.summary.scores.items():
            interval = method.intervals.get(key)
            rows.append(
                {
                    "method": method.name,
                    "score": key,
                    "value": 100 * score.value(),
                    "low": 100 * interval.low if interval else math.nan,
                    "high": 100 * interval.high if interval else math.nan,
                }
            )
    return pd.DataFrame(rows, columns=["method", "score", "value", "low", "high"])


def class_frame(
    evaluation: Evaluation, names: Mapping[int, ClassName] | None = None
) -> pd.DataFrame:
    """Return a row for each method and class; IoUs in percent.

    Args:
        evaluation: with one or more methods.
        names: class id to name; None takes those that ``find_class_names`` knows.
    """
    import pandas as pd

    named = _names(evaluation, names)
    frames = [
        pd.DataFrame({"method": method.name, **_class_columns(method, named)})
        for method in evaluation.methods
    ]
    return pd.concat(frames, ignore_index=True)


def _names(
    evaluation: Evaluation, names: Mapping[int, ClassName] | None
) -> Mapping[int, ClassName]:
    if names is not None:
        return names
    return find_class_names(evaluation.protocol, evaluation.target)


def _class_columns(method: MethodResult, names: Mapping[int, ClassName]) -> dict[str, Any]:
    """Return what is said of each class, by column."""
    table = method.summary.classes
    named = [names.get(int(label), ClassName()) for label in table.label]
    return {
        "class": table.label,
        "synset": [entry.synset for entry in named],
        "name": [entry.name for entry in named],
        "IoU": 100 * table.iou,
        "boundary_IoU": 100 * table.boundary_iou,
        "pred_pixels": table.pred_pixels,
        "target_pixels": table.target_pixels,
        "images": table.images,
    }


def object_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row for each method and object; IoUs in percent, area in pixels."""
    import pandas as pd

    frames = []
    images = np.array(evaluation.images, dtype=object)
    for method in evaluation.methods:
        table = method.summary.objects
        frames.append(
            pd.DataFrame(
                {
                    "method": method.name,
                    "image": images[table.image],
                    "class": table.label,
                    "area": table.area,
                    "IoU": 100 * table.iou,
                    "boundary_IoU": 100 * table.boundary_iou,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def image_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row for each method and image, with every score of that image alone, in percent."""
    import pandas as pd

    frames = []
    for method in evaluation.methods:
        columns: dict[str, Any] = {"method": method.name, "image": list(evaluation.images)}
        for key, score in method.summary.scores.items():
            # Dense rows of 919 classes are large; a few hundred at a time are not.
            parts = [
                score.finish(np.asarray(score.sums[start : start + 256].toarray(), np.float64))
                for start in range(0, len(evaluation.images), 256)
            ]
            columns[key] = 100 * np.concatenate([np.empty(0), *parts])
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def to_json(evaluation: Evaluation, names: Mapping[int, ClassName] | None = None) -> str:
    """Return the evaluation as JSON text; percent, null where a score is undefined."""
    options = asdict(evaluation.options)
    options["match"] = evaluation.options.match and {
        str(pred): target for pred, target in evaluation.options.match.items()
    }
    named = _names(evaluation, names)
    document = {
        "schema": JSON_SCHEMA,
        "uosam": __version__,
        "protocol": {"name": evaluation.options.protocol, **asdict(evaluation.protocol)},
        "options": options,
        "images": len(evaluation.images),
        "methods": [_method_json(method, named) for method in evaluation.methods],
        "comparisons": [_comparison_json(entry) for entry in evaluation.comparisons],
        "notes": list(evaluation.notes),
    }
    return json.dumps(_without_nan(document), indent=2, allow_nan=False) + "\n"


def _method_json(method: MethodResult, names: Mapping[int, ClassName]) -> dict[str, Any]:
    match = method.summary.match
    columns = {  # without a data frame: pandas takes a fifth of a second to import
        key: values.tolist() if isinstance(values, np.ndarray) else values
        for key, values in _class_columns(method, names).items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {
        "name": method.name,
        "path": None if method.path is None else str(method.path),
        "scores": {key: 100 * score.value() for key, score in method.summary.scores.items()},
        "intervals": {key: _percent(interval) for key, interval in method.intervals.items()},
        "threshold": method.threshold,
        "sweep": [{"threshold": t, "mIoU": 100 * value} for t, value in method.sweep.items()],
        "match": {str(pred): target for pred, target in sorted(match.classes.items())},
        "ambiguous": list(match.ambiguous),
        **({"names": asdict(method.names)} if method.names else {}),
        "objects": len(method.summary.objects.label),
        "classes": rows,
    }


def _comparison_json(entry: Comparison) -> dict[str, Any]:
    return {
        "name": entry.name,
        "differences": {key: _percent(value) for key, value in entry.differences.items()},
        "images_worse": 100 * entry.images_worse,
        "objects_worse": 100 * entry.objects_worse,
        "objects_worse_1": 100 * entry.objects_worse_1,
    }


def _percent(interval: Interval) -> dict[str, float]:
    return {
        "value": 100 * interval.value,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "level": interval.level,
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, np.generic):
        return _without_nan(value.item())
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files to write; None for those not wanted.

    Attributes:
        json: everything.
        csv: the scores.
        per_image: rows by image.
        per_class: rows by class.
        per_object: rows by object.
        names: class id to name, for rows by class; None for those that are known.
        gallery: folder for pictures of the best and worst changes.
        html: file for a page of all images.
        images: folder of the photographs, read for gallery and page.
    """

    json: Path | None = None
    csv: Path | None = None
    per_image: Path | None = None
    per_class: Path | None = None
    per_object: Path | None = None
    names: Mapping[int, ClassName] | None = None
    gallery: Path | None = None
    html: Path | None = None
    images: Path | None = None

    def __post_init__(self) -> None:
        """Check the suffixes, before hours of work go into the tables.

        Raises:
            ConfigError: a table is neither ``.parquet`` nor ``.csv`` nor ``.md``.
        """
        for path in (self.per_image, self.per_class, self.per_object):
            if path is not None and path.suffix not in (".parquet", ".csv", ".md"):
                raise ConfigError(
                    f"{path}: tables are written as .parquet, .csv or .md, got {path.suffix!r}"
                )


def write_outputs(evaluation: Evaluation, outputs: Outputs) -> None:
    """Write every file that is wanted.

    Raises:
        InputError: photographs cannot be read, or a file cannot be written.
    """
    _check(evaluation, outputs)
    try:
        if outputs.json:
            write_atomic(outputs.json, to_json(evaluation, outputs.names).encode())
        if outputs.csv:
            write_frame(score_frame(evaluation), outputs.csv)
        if outputs.per_image:
            write_frame(image_frame(evaluation), outputs.per_image)
        if outputs.per_class:
            write_frame(class_frame(evaluation, outputs.names), outputs.per_class)
        if outputs.per_object:
            write_frame(object_frame(evaluation), outputs.per_object)
        if outputs.gallery or outputs.html:
            from uosam.evaluation.gallery import write_gallery, write_page  # here: for start-up
        if outputs.gallery:
            write_gallery(evaluation, outputs.gallery, outputs.images)
        if outputs.html:
            write_page(evaluation, outputs.html, outputs.images, outputs.names)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _check(evaluation: Evaluation, outputs: Outputs) -> None:
    """Refuse to write over what was evaluated, or a gallery among it.

    Raises:
        ConfigError: a file that was read would be overwritten.
        InputError: two files have one name, or the gallery lies in a folder that was read.
    """
    named = [
        (path, f"--{title.replace('_', '-')}")
        for title in ("json", "csv", "per_image", "per_class", "per_object", "html")
        if (path := getattr(outputs, title))
    ]
    read = [path for job in evaluation.jobs for path in (job.target, *job.preds)]
    check_outputs(named, read)
    if outputs.gallery:
        place = outputs.gallery.resolve()
        for path in (evaluation.target, outputs.images):
            if path is not None and path.is_dir() and place.is_relative_to(path.resolve()):
                raise InputError(
                    f"the gallery {outputs.gallery} must not be or lie in {path}; give a folder "
                    "beside it"
                )

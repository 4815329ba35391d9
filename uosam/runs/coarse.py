"""Label a folder of pictures with a USS model: the masks that ``refine`` starts from.

The models live in ``uosam.baselines``; the table names them as text, and a reference
``module:function`` brings a model of one's own. The function gets the checkpoint, a device and
settings, and returns a function from (H, W, 3) RGB to scores (K, H, W). One with a parameter
``pictures`` gets all paths: its classes exist for a set only.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uosam
from uosam.errors import ConfigError, InputError
from uosam.io.images import IMAGE_SUFFIXES
from uosam.lookup import lookup
from uosam.runs.coarse_models import REFERENCES
from uosam.runs.coarse_task import CoarseOptions, Model, is_good, label_one
from uosam.runs.manifest import Row, file_digest, finish, open_journal, record
from uosam.runs.task import Outcome, explain
from uosam.structures import Sample


@dataclass(frozen=True, kw_only=True)
class CoarseRun:
    """What became of a folder.

    Attributes:
        labelled: pictures that have a mask, earlier runs included.
        skipped: how many of them an earlier run did.
        failures: reason by name of the picture, or by folder that cannot be listed.
        seconds: wall time.
    """

    labelled: int
    skipped: int
    failures: Mapping[str, str]
    seconds: float


def find_model(options: CoarseOptions, samples: Sequence[Sample]) -> Callable[[], Model]:
    """Return the function that loads the model which the options name, ready to be called.

    Raises:
        ConfigError: the name is not known, its code is not on the Python path, or the settings
            are not those of the model.
    """
    load = lookup("model", options.model, REFERENCES)
    first = next(iter(inspect.signature(load).parameters.values()))
    if options.checkpoint is None and first.default is inspect.Parameter.empty:
        raise ConfigError(f"model {options.model!r} needs its weights; give --checkpoint FILE")
    arguments = {"device": options.device, **options.settings}
    if needs_set(load, options):
        arguments["pictures"] = [sample.image for sample in samples]
    try:
        inspect.signature(load).bind(options.checkpoint, **arguments)
    except TypeError as error:
        known = [name for name in inspect.signature(load).parameters if name != "device"][1:]
        raise ConfigError(
            f"model {options.model!r} takes the settings {', '.join(known) or 'none'}, got "
            f"{', '.join(options.settings) or 'none'} ({error}); give them as -s NAME=VALUE"
        ) from error
    return lambda: load(options.checkpoint, **arguments)


def needs_set(load: Callable[..., Any], options: CoarseOptions) -> bool:
    """Tell whether a model is fitted to the pictures themselves, and no earlier fit is given."""
    fitted = {"centroids", "clusters", "pictures"} & options.settings.keys()
    return "pictures" in inspect.signature(load).parameters and not fitted


def label_folder(
    samples: Sequence[Sample],
    out: Path,
    options: CoarseOptions,
    *,
    unreadable: Mapping[str, str] | None = None,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> CoarseRun:
    """Label every picture into ``out``, skipping those that an earlier run has done.

    A mask goes to ``out / (name + ".png")``. One bad picture is a recorded failure.

    Args:
        samples: pictures, as ``find_pictures`` gives them.
        out: folder for masks and ``manifest.jsonl``.
        options: which model, and what else is written.
        unreadable: folders that could not be listed, with the reason.
        on_outcome: called with each outcome, in order.

    Raises:
        ConfigError: ``out`` holds other results, or the model or a setting is not known.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded.
    """
    start = time.perf_counter()
    failures = dict(unreadable or {})
    labelled = skipped = 0
    load = find_model(options, samples)
    header = make_header(options, samples)
    with open_journal(out, header, overwrite=options.overwrite) as journal:
        model: Model | None = None
        for sample in samples:
            done = journal.rows.get(sample.name)
            if done is not None and is_good(out, sample, options, done):
                outcome = Outcome(row=done, skipped=True)
            else:
                # Only now: a run that has nothing left to do loads no model.
                model = load() if model is None else model
                outcome = label_one(model, sample, out, options)
            record(journal, outcome.row)
            on_outcome(outcome)
            if "error" in outcome.row:
                failures[sample.name] = outcome.row["error"]
            else:
                labelled += 1
                skipped += outcome.skipped
        try:
            finish(journal)
        except OSError as error:
            failures["manifest.jsonl"] = f"{explain(error)}; free space and run again"
    return CoarseRun(
        labelled=labelled,
        skipped=skipped,
        failures=failures,
        seconds=time.perf_counter() - start,
    )


def find_pictures(images: Path) -> tuple[list[Sample], dict[str, str]]:
    """List the pictures below a folder, in order of name, and sub-folders that cannot be listed.

    Raises:
        InputError: the folder is missing or without pictures, or two pictures share a name.
    """
    if not images.is_dir():
        raise InputError(f"{images}: expected a folder of pictures, found none")
    errors: list[OSError] = []
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(images, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(names):
            path = Path(root, file)
            if file.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            name = path.relative_to(images).with_suffix("").as_posix()
            if name in found:
                raise InputError(
                    f"{found[name]} and {path} would both be labelled as {name}.png; rename one"
                )
            found[name] = path
    unreadable = {
        str(error.filename): f"folder cannot be listed ({error.strerror})" for error in errors
    }
    if not found and not unreadable:
        raise InputError(f"{images}: no pictures found ({', '.join(IMAGE_SUFFIXES)})")
    return [Sample(name=name, image=found[name]) for name in sorted(found)], unreadable


def make_header(options: CoarseOptions, samples: Sequence[Sample]) -> Row:
    """Return everything that determines a mask, besides the picture; files stand as digests.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    try:
        path = options.checkpoint
        weights = "none" if path is None else file_digest(Path(path))
    except OSError as error:
        raise InputError(
            f"{options.checkpoint}: checkpoint cannot be read ({error.strerror}); "
            "give the weights file of the model with --checkpoint"
        ) from error
    settings: dict[str, Any] = {"model": options.model, "compress": options.compress}
    settings["scores"] = options.scores is not None
    for key, value in options.settings.items():
        if key == "save":  # where a model leaves what it learned decides nothing
            continue
        is_file = isinstance(value, str) and Path(value).is_file()
        settings[f"settings.{key}"] = file_digest(Path(value)) if is_file else value
    if needs_set(lookup("model", options.model, REFERENCES), options):
        names = "\n".join(sample.name for sample in samples)
        settings["pictures"] = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    header: Row = {"uosam": uosam.__version__, "weights": weights, "settings": settings}
    return {str(k): v for k, v in json.loads(json.dumps(header)).items()}

"""From pictures to refined, evaluated masks with one set of settings: coarse, refine, evaluate.

Each step is the call behind the command of its name, with its own resume; nothing is done here but
handing on folders, the background that the model implies, and its class scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from uosam.coerce import Text, convert, load_yaml
from uosam.config import Config, build_config, dump_config, read_changes, update_options
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.export import Outputs, write_outputs
from uosam.evaluation.report import to_markdown
from uosam.evaluation.types import EvaluateOptions, Evaluation
from uosam.io.atomic import write_atomic
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs, find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions, describe_model
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run
from uosam.runs.task import Outcome
from uosam.structures import Sample

Show = Callable[[int, str], AbstractContextManager[Callable[[Outcome], object]]]
"""Gets the number of pictures and what is done to them; yields what is called with outcomes."""

_COARSE: Mapping[str, Any] = {
    "model": str,
    "checkpoint": str | None,
    "device": str,
    "soft": bool,
    "compress": bool,
}
"""Keys of the section "coarse"; what else stands there are arguments of the model's function."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The settings of all three steps.

    Attributes:
        coarse: which model labels the pictures.
        soft: whether class scores are written, and used by ``refine``.
        config: of ``refine``.
        evaluate: of the evaluation.
    """

    coarse: CoarseOptions
    soft: bool
    config: Config
    evaluate: EvaluateOptions


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResult:
    """What became of each step.

    Attributes:
        coarse: of labelling.
        refined: of refining.
        evaluation: coarse against refined masks, or None.
        failures: reason by name, of both steps.
        skipped: why nothing was scored, if it was asked for; "" otherwise.
    """

    coarse: Run
    refined: Run
    evaluation: Evaluation | None
    failures: Mapping[str, str]
    skipped: str


def load_run(source: str | Path | None = None, overrides: Sequence[str] = ()) -> RunOptions:
    """Apply a YAML file and then overrides to the defaults of all three steps.

    The sections are those of ``uosam refine`` and, beside them, "coarse" and "evaluate". Unless
    said otherwise the background is the one that the model implies: for ``refine`` always, for the
    evaluation under the protocol "plain"; the published protocols have their own.

    Raises:
        ConfigError: no such file, unknown section or key, wrong type, value out of range, or no
            model.
    """
    changes = read_changes(source, overrides)
    coarse, scoring = changes.pop("coarse", {}), changes.pop("evaluate", {})
    known = {
        key: convert(coarse[key], kind, f"coarse.{key}")
        for key, kind in _COARSE.items()
        if key in coarse
    }
    if "model" not in known:
        raise ConfigError(
            "a run must have a USS model, got none; give --model NAME, or coarse.model in the file"
        )
    soft = known.pop("soft", False)
    settings = {key: to_plain(value) for key, value in coarse.items() if key not in _COARSE}
    implied: int | Literal["none"] | None = describe_model(
        known["model"], settings, known.get("checkpoint")
    ).background
    implied = "none" if implied is None else implied
    config = build_config(
        {**changes, "labels": {"background": implied, **changes.get("labels", {})}}
    )
    chosen = update_options("evaluate", EvaluateOptions(), scoring)
    if chosen.protocol == "plain" and chosen.background is None:
        background = config.labels.background
        chosen = replace(chosen, background=None if background == "default" else background)
    options = CoarseOptions(**known, settings=settings, overwrite=config.engine.overwrite)
    return RunOptions(coarse=options, soft=soft, config=config, evaluate=chosen)


def dump_run(options: RunOptions) -> str:
    """Return the YAML of every setting; ``load_run`` of it gives ``options`` again."""
    coarse = {key: getattr(options.coarse, key) for key in _COARSE if key != "soft"}
    coarse = {**coarse, "soft": options.soft, **options.coarse.settings}
    scoring = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(options.evaluate).items()
        if key != "match"
    }
    top = yaml.safe_dump({"coarse": coarse, "evaluate": scoring}, sort_keys=False)
    return top + dump_config(options.config)


def run_all(
    images: Path,
    out: Path,
    options: RunOptions,
    *,
    target: Path | None = None,
    show: Show = lambda total, verb: nullcontext(lambda outcome: None),
) -> RunResult:
    """Label pictures, refine the masks, and score both against ground truth.

    Writes ``coarse/``, ``refined/``, with soft scores ``scores/``, ``run.yaml`` and, with ground
    truth, ``evaluation.json`` and ``evaluation.md``. What an earlier run has done is skipped. A
    picture that fails is recorded; then nothing is scored, since a mask is missing.

    Args:
        images: folder of pictures.
        out: folder for everything.
        options: of all steps.
        target: folder of ground truth, or None.
        show: how outcomes are shown.

    Raises:
        ConfigError: ``out`` lies in an input folder or holds other results, or a setting is wrong.
        InputError: no pictures, ``out`` cannot be written, or ground truth does not fit.
        BackendError: a model cannot be loaded.
    """
    check_folders({"output": out}, [images] if target is None else [images, target])
    if target is not None and not target.exists():
        raise InputError(f"{target}: expected the folder of ground truth, found none")
    samples, unreadable = find_pictures(images)
    scores = str(out / "scores") if options.soft else None
    with show(len(samples), "labelling") as on_outcome:
        coarse = label_folder(
            samples,
            out / "coarse",
            replace(options.coarse, scores=scores),
            unreadable=unreadable,
            on_outcome=on_outcome,
        )
    write_atomic(out / "run.yaml", dump_run(options).encode())
    pairs = _pair(samples, out / "coarse", coarse)
    labels = replace(options.config.labels, scores=scores)
    with show(len(pairs.samples), "refining") as on_outcome:
        refined = refine_folder(
            pairs,
            out / "refined",
            replace(options.config, labels=labels),
            inputs=[images, out / "coarse"],
            on_outcome=on_outcome,
        )
    failures = {**coarse.failures, **refined.failures}
    for name in ("evaluation.json", "evaluation.md"):
        # An evaluation of other masks must not stand beside these.
        (out / name).unlink(missing_ok=True)
    evaluation, skipped = None, ""
    if target is not None and failures:
        skipped = f"nothing was scored, since {len(failures)} failed; mend them and run again"
    elif target is not None:
        folders = [out / "coarse", out / "refined"]
        evaluation = _note_clusters(evaluate(folders, target, options.evaluate), options)
        write_outputs(evaluation, Outputs(json=out / "evaluation.json"))
        write_atomic(out / "evaluation.md", to_markdown(evaluation).encode())
    return RunResult(
        coarse=coarse, refined=refined, evaluation=evaluation, failures=failures, skipped=skipped
    )


def _note_clusters(evaluation: Evaluation, options: RunOptions) -> Evaluation:
    """Say so if clusters were taken for classes, which makes most scores those of chance."""
    model = options.coarse.model
    unmatched = evaluation.protocol.matching == "none" and options.evaluate.match is None
    if not unmatched or not describe_model(model).clusters:
        return evaluation
    note = (
        f"ids of {model} are clusters, but {options.evaluate.protocol} takes them for classes; "
        "-s evaluate.matching=pixels finds which is which"
    )
    return replace(evaluation, notes=(*evaluation.notes, note))


def _pair(samples: Sequence[Sample], folder: Path, run: Run) -> Pairs:
    return Pairs(
        samples=[
            replace(sample, coarse=folder / f"{sample.name}.png")
            for sample in samples
            if sample.name not in run.failures
        ]
    )


def to_plain(value: Any) -> Any:
    """Read the value of an override as YAML, or else as the bare text."""
    if not isinstance(value, Text):
        return value
    try:
        return load_yaml(value)
    except yaml.YAMLError:
        return str(value)

"""Tables of phrases and their references, and METEOR by the program of its authors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from uosam.errors import ConfigError, InputError
from uosam.metrics.captions import tokenize


def read_caption_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read candidates and references from a CSV.

    Columns "caption" and "reference"; with a column "region" its rows of one value are one
    candidate with several references.

    Returns:
        N candidates, and for each its references.

    Raises:
        InputError: the file cannot be read, lacks a column or a reference, or a region has two
            different candidates.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a CSV of captions, got {reason}") from error
    for column in ("caption", "reference"):
        if column not in table.columns:
            raise InputError(
                f"{path}: a table of captions needs the columns caption and reference, got "
                f"{', '.join(map(str, table.columns)) or 'none'}"
            )
    keys = table["region"] if "region" in table.columns else pd.Series(range(len(table)))
    candidates: dict[object, str] = {}
    references: dict[object, list[str]] = {}
    rows = zip(keys, table["caption"], table["reference"], strict=True)
    for line, (key, caption, reference) in enumerate(rows, start=2):
        if not reference.strip():
            raise InputError(f"{path}: line {line} has no reference; leave it out")
        if candidates.setdefault(key, caption) != caption:
            raise InputError(
                f"{path}: line {line} gives region {key} a second caption {caption!r}; "
                "a region has one caption and any number of references"
            )
        references.setdefault(key, []).append(reference)
    return list(candidates.values()), list(references.values())


def meteor(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """Score phrases by METEOR 1.5 as the COCO caption evaluation calls it.

    Args:
        candidates: N phrases.
        references: for each any number of references, at least one.

    Returns:
        The score of all together, and of each, in [0, 1].

    Raises:
        ConfigError: Java or the package ``pycocoevalcap`` is missing.
    """
    if shutil.which("java") is None:
        raise ConfigError("METEOR is a Java program, found no java; install Java, or leave it out")
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ImportError as error:
        raise ConfigError(
            "METEOR comes with the package pycocoevalcap, found none; pip install pycocoevalcap, "
            "or leave it out"
        ) from error
    given = {i: [" ".join(tokenize(text))] for i, text in enumerate(candidates)}
    known = {i: [" ".join(tokenize(t)) for t in texts] for i, texts in enumerate(references)}
    scorer = Meteor()
    try:
        whole, each = scorer.compute_score(known, given)
    finally:  # the package leaves its Java process and three pipes to the collector
        scorer.meteor_p.kill()
        for pipe in (scorer.meteor_p.stdin, scorer.meteor_p.stdout, scorer.meteor_p.stderr):
            pipe.close()
        scorer.meteor_p.wait()
    return float(whole), [float(score) for score in each]


def read_spice(path: Path) -> float:
    """Read the mean SPICE from what the program of its authors writes.

    The program is in Java and fetches its parser from the web when it first runs, so it is not
    called from here; this takes its result file.

    Args:
        path: JSON list with ``scores.All.f`` for each caption.

    Returns:
        The mean F in [0, 1]; captions without a tuple, whose F is no number, are left out.

    Raises:
        InputError: the file is none of that program.
    """
    try:
        each = [float(one["scores"]["All"]["f"]) for one in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the JSON that SPICE writes (a list with scores.All.f), got "
            f"{type(error).__name__}; give the file of its option -out"
        ) from error
    known = [value for value in each if 0 <= value <= 1]
    if not known:
        raise InputError(f"{path}: SPICE must have scored at least one caption, got none")
    return sum(known) / len(known)

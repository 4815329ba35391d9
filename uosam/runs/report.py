"""The page of a run: ``uosam report OUT`` and ``uosam refine --report``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uosam.config import load_config
from uosam.errors import ConfigError, InputError, UosamError
from uosam.io.binary import settle_labels
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.io.listings.table import read_manifest
from uosam.io.pairs import Pairs, find_pairs
from uosam.io.stores.mounts import at_hand, mount, pull, put, release
from uosam.report.page import BUDGET, Entry, Page, encode_page, make_entry
from uosam.runs.details import read_number, read_objects
from uosam.runs.exchange.coco_masks import UNPACKED
from uosam.runs.journal import read_rows
from uosam.runs.manifest import MANIFEST, NOTES
from uosam.runs.rows import Row
from uosam.structures import IGNORE, Decision, LabelMap, Sample
from uosam.text import explain

FILE = "report.html"
COLUMNS = ("id", "class", "decided", "why", "score", "agreement", "expected gain", "pixels")
UNITS = {"change": "%", "confidence": "%", "time": "s", "objects redrawn": ""}


def write_report(
    out: Path,
    *,
    images: Path | None = None,
    masks: Path | None = None,
    manifest: Path | None = None,
    pairs: Pairs | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write ``report.html`` into the output folder of ``uosam refine``.

    Args:
        out: the folder.
        images: folder of the pictures; None for what the run's ``summary.json`` says.
        masks: folder of the coarse masks; None for what ``summary.json`` says.
        manifest: table of the pairs in place of both.
        pairs: what the run worked at, if it is known.
        names: id to class name.

    Returns:
        Path of the page.

    Raises:
        InputError: the folder holds no run, or pictures and masks are not found.
    """
    noted = pull(out, (*NOTES, "summary.json", "config.yaml"))
    header, rows = read_rows(out)
    if header is None and not rows:
        raise InputError(f"{out}: expected the output of uosam refine, found no {MANIFEST}")
    summary = _summary(out)
    if pairs is None:
        pairs = _find(out, images, masks, manifest, summary)
    samples = {sample.name: sample for sample in pairs.samples}
    done = [name for name in sorted(rows) if "error" not in rows[name]]
    options = _label_options(out, pairs)
    share = BUDGET / max(1, len(done))
    failures = {name: str(row["error"]) for name, row in rows.items() if "error" in row}
    failures |= {str(k): str(v) for k, v in _mapping(summary, "failures").items()}
    times = _mapping(summary, "times")
    classes = _Classes(dict(names or {}))
    entries = []
    for name in done:
        sample = samples.get(name)
        if sample is None:
            failures.setdefault(name, "its picture and coarse mask are not there any more")
            continue
        try:
            entries.append(_entry(out, sample, rows[name], options, share, times, classes))
        except (UosamError, OSError) as error:
            failures[name] = explain(error)
    page = _page(out, entries, rows, summary, failures, classes)
    path = out / FILE
    try:
        put(path, encode_page(page, entries))
        release(out / name for name in noted)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return path


class _Classes:
    """What the classes of all pictures add up to."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.background: int | None = None
        self.before: Counter[int] = Counter()
        self.after: Counter[int] = Counter()
        self.pictures: Counter[int] = Counter()
        self.redrawn: Counter[int] = Counter()
        self.kept: dict[int, Counter[str]] = defaultdict(Counter)

    def add(self, coarse: LabelMap, refined: LabelMap, verdicts: list[Decision]) -> None:
        for counter, labels in ((self.before, coarse), (self.after, refined)):
            ids, counts = np.unique(labels[labels != IGNORE], return_counts=True)
            counter.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        self.pictures.update(np.unique(coarse[coarse != IGNORE]).tolist())
        for verdict in verdicts:
            if verdict.accepted:
                self.redrawn[verdict.label] += 1
            else:
                self.kept[verdict.label][verdict.reason] += 1

    def rows(self) -> Iterator[list[str]]:
        for label in sorted(self.before | self.after):
            before, after = self.before[label], self.after[label]
            reasons = ", ".join(f"{n} {why}" for why, n in self.kept[label].most_common())
            change = f"{100 * (after / before - 1):+.1f} %" if before else "new"
            yield [
                str(label),
                self.names.get(label, "background" if label == self.background else ""),
                str(self.pictures[label]),
                str(self.redrawn[label]),
                reasons or "–",
                change,
            ]


def _entry(
    out: Path,
    sample: Sample,
    row: Row,
    options: LabelOptions,
    share: float,
    times: Mapping[str, Any],
    classes: _Classes,
) -> Entry:
    assert sample.image is not None
    assert sample.coarse is not None
    path = out / row["output"]
    if not path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{path}: lies outside of {out}")
    with at_hand(sample.image, sample.coarse, path):
        coarse = read_with(sample.coarse, options)
        refined = read_with(path, options).labels
        image = read_image(sample.image)
    if not image.shape[:2] == coarse.labels.shape == refined.shape:
        raise InputError(f"{sample.image}: picture and masks differ in size")
    verdicts = read_objects(row)
    classes.background = coarse.spec.background
    classes.add(coarse.labels, refined, verdicts)
    changed = read_number(row, "changed")
    if changed is None:
        changed = float(np.mean(coarse.labels != refined))
    notes = row.get("notes")
    return make_entry(
        sample.name,
        image,
        {"before": coarse.labels, "after": refined},
        share,
        facts={
            "change": changed,
            "confidence": read_number(row, "confidence"),
            "objects redrawn": read_number(row, "accepted"),
            "time": read_number(times, sample.name),
        },
        background=coarse.spec.background,
        table=[_decision(verdict, classes.names) for verdict in verdicts],
        note="; ".join(map(str, notes)) if isinstance(notes, list) else "",
    )


def _decision(verdict: Decision, names: Mapping[int, str]) -> list[str]:
    asked = f" ({verdict.answer})" if verdict.answer else ""
    return [
        str(verdict.label),
        names.get(verdict.label, ""),
        f"redrawn{asked}" if verdict.accepted else "kept",
        verdict.reason,
        f"{verdict.score:.2f}",
        f"{verdict.agreement:.2f}",
        f"{100 * verdict.gain:+.1f} points" if verdict.gain else "–",
        str(verdict.area),
    ]


def _page(
    out: Path,
    entries: list[Entry],
    rows: Mapping[str, Row],
    summary: Mapping[str, Any],
    failures: Mapping[str, str],
    classes: _Classes,
) -> Page:
    def column(title: str) -> list[float]:
        values = (entry.facts[title] for entry in entries)
        return [value for value in values if value is not None]

    verdicts = [verdict for row in rows.values() for verdict in read_objects(row)]
    redrawn = sum(verdict.accepted for verdict in verdicts)
    change = column("change")
    figures = [
        ("pictures", str(len(entries))),
        ("failed", str(len(failures))),
        ("objects redrawn", f"{redrawn} of {len(verdicts)}"),
        ("pixels changed", f"{100 * np.mean(change):.2f} %" if change else "–"),
    ]
    wall = read_number(summary, "wall")
    if wall is not None:
        figures.append(("last run", f"{wall:.0f} s"))
    reasons = Counter(verdict.reason for verdict in verdicts if not verdict.accepted)
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = []
    if reasons:
        listed = [[why, str(count)] for why, count in reasons.most_common()]
        tables.append(("Why objects were kept", ("reason", "objects"), listed))
    heads = ("id", "class", "pictures", "redrawn", "kept", "pixels")
    tables.append(("Classes", heads, list(classes.rows())))
    notes = [str(note) for note in _mapping(summary, "notes")]
    if not verdicts:
        notes.append("this run kept no decisions; those of a newer version are in its manifest")
    return Page(
        title=f"uosam: {out.resolve().name}",
        summary=figures,
        sort=("change", "confidence", "objects redrawn", "time"),
        units=UNITS,
        columns=COLUMNS,
        histograms={
            "confidence": column("confidence"),
            "share of pixels changed": change,
            "seconds": column("time"),
        },
        tables=tables,
        failures=failures,
        names=classes.names,
        notes=notes,
    )


def _summary(out: Path) -> dict[str, Any]:
    """Read ``summary.json``; nothing of it is needed, so a damaged one says nothing."""
    try:
        found = json.loads((out / "summary.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = summary.get(key)
    return value if isinstance(value, dict) else {}


def _find(
    out: Path,
    images: Path | None,
    masks: Path | None,
    manifest: Path | None,
    summary: Mapping[str, Any],
) -> Pairs:
    """Find pictures and masks where the user or the run say."""
    given = summary.get("inputs")
    paths = [mount(Path(str(path))) for path in given] if isinstance(given, list) else []
    if manifest is None and images is None and masks is None and len(paths) == 1:
        manifest = paths[0] if paths[0].is_file() else None
    if manifest is not None:
        return read_manifest(manifest)
    images = images or (paths[0] if paths else None)
    masks = masks or (paths[1] if len(paths) > 1 else None)
    if masks is None and (out / UNPACKED).is_dir():
        masks = out / UNPACKED
    if images is None or masks is None or not images.exists() or not masks.exists():
        raise InputError(
            f"{out}: expected to find the pictures and coarse masks of the run, found them neither "
            "where it says nor here; give --images DIR and --masks DIR"
        )
    return find_pairs(images, masks)


def _label_options(out: Path, pairs: Pairs) -> LabelOptions:
    """Return how the run read its masks."""
    try:
        options = load_config(out / "config.yaml").labels
    except ConfigError:
        options = LabelOptions()
    return settle_labels(options, pairs.samples)[0]

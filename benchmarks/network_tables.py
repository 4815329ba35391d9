"""The tables of the network benchmark, from its stored rows into README and the docs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import README, TOP
from benchmarks.marked import fill
from benchmarks.network_scores import KINDS, NUMBERS
from uosam.datasets.class_names import find_class_names
from uosam.errors import InputError
from uosam.metrics.protocols import find_protocol

PAGE = TOP / "docs" / "network_masks.md"
OURS = ("uosam", "uosam, scores", "uosam 4 rounds", "uosam graphcut")


def last_rows(results: Path) -> dict[str, dict[str, Any]]:
    """Return the newest stored row of each method with default settings, largest runs first.

    Raises:
        InputError: there is none.
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        row = json.loads(line)
        if row["part"] == "network" and not row["settings"]:
            found[row["method"]] = row
    if not found:
        raise InputError(f"{results.name} must hold a run, run benchmarks.network first")
    return found


def last_bounds(results: Path) -> dict[str, Any] | None:
    """Return the newest row of ``network_bounds`` with default settings; None without one."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    found = [row for row in rows if row["part"] == "bounds" and not row["settings"]]
    return found[-1] if found else None


def bounds_table(row: dict[str, Any]) -> str:
    """Return a table of what the default would gain if something were right."""
    lines = [
        "| the refined map | mIoU | boundary mIoU | Img-Acc | F-beta |",
        "|---|---|---|---|---|",
    ]
    for name, scores in row["bounds"].items():
        cells = " | ".join(f"{100 * scores[key]['gain']:+.1f}" for key in NUMBERS)
        lines.append(f"| {name} | {cells} |")
    lines += ["", f"On {row['images']} pictures, commit {row['commit'][:7]}, {row['time'][:10]}."]
    return "\n".join(lines)


def score_table(rows: dict[str, dict[str, Any]], images: int, methods: Sequence[str]) -> str:
    """Return a Markdown table of gains on the first ``images`` pictures, the best mIoU first."""
    parts = {m: rows[m]["parts"].get(str(images)) for m in methods if m in rows}
    held = {method: part for method, part in parts.items() if part is not None}
    ordered = sorted(held, key=lambda method: -held[method]["scores"]["mIoU"]["gain"])
    lines = [
        "| masks | mIoU | boundary mIoU | Img-Acc | F-beta | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for part in list(held.values())[:1]:
        cells = " | ".join(f"{100 * part['scores'][name]['coarse']:.1f}" for name in NUMBERS)
        lines.append(f"| of the network | {cells} | |")
    for method in ordered:
        part = held[method]
        cells = " | ".join(gain(part["scores"][name]) for name in NUMBERS)
        name = f"**{method}**" if method in OURS else method
        lines.append(f"| {name} | {cells} | {part['seconds']:.2f} |")
    return "\n".join(lines)


def gain(numbers: dict[str, Any]) -> str:
    """Return the gain of a score in points, with its interval unless the pictures are too few."""
    low, high = numbers["interval"]
    if math.isnan(low):
        return f"{100 * numbers['gain']:+.1f}"
    return f"{100 * numbers['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def kind_table(rows: dict[str, dict[str, Any]], images: int, methods: Sequence[str]) -> str:
    """Return a table of object IoU before and after, by kind of mistake."""
    parts = {m: rows[m]["parts"][str(images)]["kinds"] for m in methods if _has(rows, m, images)}
    first = next(iter(parts.values()))
    heads = " | ".join(f"{method}: IoU, boundary IoU, harmed" for method in parts)
    lines = [
        f"| what the network made of an object | objects | IoU / boundary IoU | {heads} |",
        "|---|---|---|" + "---|" * len(parts),
    ]
    for kind in KINDS:
        if kind not in first:
            continue
        before = f"{100 * first[kind]['iou'][0]:.1f} / {100 * first[kind]['boundary_iou'][0]:.1f}"
        cells = []
        for kinds in parts.values():
            changes = [
                100 * (kinds[kind][k][1] - kinds[kind][k][0]) for k in ("iou", "boundary_iou")
            ]
            harmed = 100 * kinds[kind]["harmed"]
            cells.append(f"{changes[0]:+.1f} / {changes[1]:+.1f}, {harmed:.0f} %")
        lines.append(f"| {kind} | {first[kind]['objects']} | {before} | {' | '.join(cells)} |")
    return "\n".join(lines)


def class_table(rows: dict[str, dict[str, Any]], images: int, methods: Sequence[str]) -> str:
    """Return a table of the IoU of each class before, and of the changes."""
    parts = {m: rows[m]["parts"][str(images)]["classes"] for m in methods if _has(rows, m, images)}
    names = find_class_names(find_protocol("voc-standard"), TOP)
    first = next(iter(parts.values()))
    lines = [
        f"| class | of the network | {' | '.join(parts)} |",
        "|---|---|" + "---|" * len(parts),
    ]
    for label, (before, _) in first.items():
        cells = [f"{100 * (part[label][1] - part[label][0]):+.1f}" for part in parts.values()]
        lines.append(f"| {names[int(label)].name} | {100 * before:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def one_method(row: dict[str, Any], images: int) -> str:
    """Return a table of IoU, boundary IoU and Img-Acc of each class before, and of the changes."""
    part = row["parts"][str(images)]
    names = find_class_names(find_protocol("voc-standard"), TOP)
    lines = [
        "| class | pictures | IoU | boundary IoU | Img-Acc of these pictures |",
        "|---|---|---|---|---|",
    ]
    for label, values in part["classes"].items():
        pairs = [values, part["class_boundaries"][label]]
        *shares, pictures = part["class_accuracy"].get(label, [float("nan")] * 2 + [""])
        cells = [
            f"{100 * was:.1f} {100 * (is_ - was):+.1f}" if is_ == is_ else ""
            for was, is_ in [*pairs, shares]
        ]
        lines.append(f"| {names[int(label)].name} | {pictures} | {' | '.join(cells)} |")
    return "\n".join(lines)


def against_rivals(rows: dict[str, dict[str, Any]], images: int) -> str:
    """Say which rival comes nearest in mIoU and in boundary mIoU, and by what factor."""
    gains = {
        method: {name: row["parts"][str(images)]["scores"][name]["gain"] for name in NUMBERS}
        for method, row in rows.items()
        if _has(rows, method, images)
    }
    rivals = [method for method in gains if method not in OURS]
    if not rivals or "uosam" not in gains:
        return ""
    said = []
    for name, title in (("mIoU", "mIoU"), ("boundary_mIoU", "boundary mIoU")):
        best = max(rivals, key=lambda method: gains[method][name])
        factor = gains["uosam"][name] / gains[best][name] if gains[best][name] > 0 else math.nan
        times = "" if math.isnan(factor) else f": uosam gains {factor:.1f} times as much"
        said.append(f"in {title} it is {best}{times}")
    return f"The nearest rival: {', '.join(said)}."


def _has(rows: dict[str, dict[str, Any]], method: str, images: int) -> bool:
    return method in rows and str(images) in rows[method]["parts"]


def page(rows: dict[str, dict[str, Any]], bounds: dict[str, Any] | None) -> str:
    """Return all tables: of the longest runs, and of shorter ones of methods that have no other."""
    sizes = sorted({int(size) for row in rows.values() for size in row["parts"]}, reverse=True)
    whole = sizes[0]
    texts = [f"On {whole} pictures:", score_table(rows, whole, list(rows))]
    texts += [against_rivals(rows, whole)]
    for size in sizes[1:]:
        if any(_has(rows, method, size) and not _has(rows, method, whole) for method in rows):
            texts += [f"On the first {size}:", score_table(rows, size, list(rows))]
            texts += [against_rivals(rows, size)]
    shown = [m for m in (*OURS, "grabcut") if _has(rows, m, whole)] or list(rows)
    texts += ["## By kind of mistake", kind_table(rows, whole, shown)]
    if bounds is not None:
        texts += ["Gains of `uosam` if, with the truth in hand, one thing were put right:"]
        texts += [bounds_table(bounds)]
    texts += ["## By class", class_table(rows, whole, shown)]
    ours = rows.get("uosam")
    if ours is not None and "class_accuracy" in ours["parts"].get(str(whole), {}):
        texts += ["Of `uosam`, before and change:", one_method(ours, whole)]
    return "\n\n".join([*filter(None, texts), commits(rows)])


def commits(rows: dict[str, dict[str, Any]]) -> str:
    """Say which row is of which commit."""
    by_commit: dict[str, list[str]] = {}
    for method, row in rows.items():
        text = f"commit {row['commit'][:7]}, {row['time'][:10]}"
        by_commit.setdefault(text, []).append(method)
    last = next(reversed(rows.values()))
    said = "; ".join(f"{', '.join(methods)}: {text}" for text, methods in by_commit.items())
    return f"{said}. {last['cores']} cores, {last['cpu']}, Python {last['python']}."


def fill_files(results: Path) -> None:
    """Write the tables of the last rows into README.md and ``docs/network_masks.md``.

    Raises:
        InputError: there are no rows, or a file is without markers.
    """
    rows = last_rows(results)
    whole = max(int(size) for row in rows.values() for size in row["parts"])
    shown = {method: row for method, row in rows.items() if _has(rows, method, whole)}
    texts = [score_table(shown, whole, list(shown)), against_rivals(shown, whole), commits(shown)]
    block = "\n\n".join(filter(None, texts))
    README.write_text(
        fill(README.read_text("utf-8"), block, "network", README.name), encoding="utf-8"
    )
    whole_page = page(rows, last_bounds(results))
    PAGE.write_text(
        fill(PAGE.read_text("utf-8"), whole_page, "network", PAGE.name), encoding="utf-8"
    )

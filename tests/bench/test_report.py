"""Leaderboards as text, plots and published tables."""

from __future__ import annotations

import base64
import csv
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from uosam.bench.leaderboard import Leaderboard
from uosam.bench.page import to_html
from uosam.bench.plots import accuracy_against_grid, accuracy_against_time, bin_means
from uosam.bench.published import holds_tables, published_rows, read_tables
from uosam.bench.report import to_csv, to_latex, to_markdown, to_rich
from uosam.bench.scores import BenchRow
from uosam.errors import ConfigError, InputError
from uosam.metrics.bootstrap import Interval

ROWS = (
    BenchRow(
        data="toy",
        method="a_b|c",
        images=3,
        objects=6,
        scores={"mIoU": 0.81234, "object_IoU": 0.75},
        gains={
            "mIoU": Interval(value=0.01, low=-0.02, high=0.04, level=0.95),
            "object_IoU": Interval(value=0.0312, low=-0.01, high=0.0724, level=0.95),
        },
        harmed=0.125,
        seconds=0.456,
        peak_mb=321.4,
    ),
    BenchRow(data="toy", method="broken", note="failed: ValueError: no & idea"),
    BenchRow(kind="published", data="S50 val", method="PASS", scores={"mIoU": 0.292}, note="Table"),
)


def test_markdown_by_hand() -> None:
    lines = to_markdown(ROWS).splitlines()
    assert lines[2] == (
        "|  | set | method | n | mIoU | object IoU | gain [95 %] "
        "| harmed | s / picture | MB | note |"
    )
    assert lines[4] == (
        r"|  | toy | a_b\|c | 3 / 6 | 81.2 | 75.0 | +3.1 [-1.0, +7.2] | 12.5 | 0.46 | 321 |  |"
    )
    assert lines[5] == "|  | toy | broken |  |  |  |  |  |  |  | failed: ValueError: no & idea |"
    assert lines[6] == "| published | S50 val | PASS |  | 29.2 |  |  |  |  |  | Table |"


def test_csv_has_every_number_unrounded() -> None:
    first, broken, printed = csv.DictReader(io.StringIO(to_csv(ROWS)))
    assert float(first["mIoU"]) == 0.81234
    assert float(first["object_IoU_gain_low"]) == -0.01
    assert (first["images"], first["seed"]) == ("3", "")
    assert broken["mIoU"] == ""
    assert (printed["kind"], printed["mIoU"]) == ("published", "0.292")


def test_latex_has_booktabs_rules_and_escapes() -> None:
    text = to_latex(ROWS)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"a\_b|c", r"no \& idea", r"95 \%"):
        assert part in text, part
    assert text.count(r"\\") == 5
    assert not re.search(r"(?<!\\)[%_#](?!\n)", text)  # the caption's percent sign among them


def test_latex_has_a_table_for_each_set() -> None:
    first, second = to_latex(ROWS).split(r"\end{table}")[:2]
    assert r"\caption{toy." in first
    assert "PASS" not in first
    assert r"\caption{S50 val." in second
    assert "broken" not in second
    assert "harmed &" not in second  # nothing there was measured


def test_the_terminal_shows_brackets_as_they_are() -> None:
    from rich.console import Console

    console = Console(width=200, file=io.StringIO())
    console.print(to_rich(ROWS))
    assert "+3.1 [-1.0, +7.2]" in console.file.getvalue()


def test_the_seven_rows_of_the_paper() -> None:
    rows = published_rows(["imagenet-s50"], read_tables())
    table = [(r.method, *(round(100 * v, 1) for v in r.scores.values())) for r in rows]
    assert table == [
        ("DeepCluster", 4.0, 1.4, 14.9, 31.6),
        ("DeepCluster (IN1k)", 14.6, 3.1, 44.8, 33.2),
        ("PiCIE", 5.0, 1.8, 15.8, 14.6),
        ("PiCIE (IN1k)", 17.8, 3.7, 45.0, 32.1),
        ("MaskCon (Sal)", 24.6, 15.6, 47.9, 65.7),
        ("PASS", 29.2, 7.6, 66.2, 49.0),
        ("UO-SAM (PASS)", 35.8, 25.7, 64.6, 56.7),
    ]
    assert list(rows[0].scores) == ["mIoU", "boundary_mIoU", "image_accuracy", "F_beta"]
    assert {r.kind for r in rows} == {"published"}


def test_doubtful_cells_carry_a_note() -> None:
    rows = published_rows(["voc", "coco-stuff"], read_tables())
    doubtful = [
        (r.data, r.method, r.scores["pixel_accuracy"]) for r in rows if "doubtful" in r.note
    ]
    assert doubtful == [
        ("PASCAL-VOC-2012 val", "ACSeg (ViT-S/8)", 0.527),
        ("COCO-Stuff-27 val", "TransFGU (ViT-S/8)", 0.527),
    ]


def test_the_data_are_those_of_the_sources(shared: Path) -> None:
    ours = Path("benchmarks/published_results.csv").read_text().splitlines()
    theirs = (shared / "spec" / "published_results.csv").read_text().splitlines()
    kept = [{k: v for k, v in row.items() if k != "note"} for row in csv.DictReader(ours)]
    assert kept == list(csv.DictReader(theirs))


def test_faults_of_published_tables(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown published table 'imagenet'; did you mean"):
        published_rows(["imagenet"], read_tables())
    path = tmp_path / "own.yaml"
    path.write_text("file: x.csv\n")
    with pytest.raises(ConfigError, match="expected 'file' and 'tables', got file"):
        read_tables(path)
    path.write_text("file: x.csv\ntables: {a: {dataset: b}}\n")
    assert holds_tables(path)
    with pytest.raises(ConfigError, match=r"tables.a must have dataset, split and source"):
        read_tables(path)
    path.write_text("file: x.csv\ntables: {a: {dataset: b, split: c, source: d}}\n")
    with pytest.raises(InputError, match=r"x.csv: published numbers cannot be read"):
        published_rows(["a"], read_tables(path))
    (tmp_path / "x.csv").write_text("dataset,value\n")
    with pytest.raises(InputError, match=r"expected the columns dataset, split, .*got dataset"):
        published_rows(["a"], read_tables(path))
    header = "dataset,split,method,backbone,prior,metric,value,source,note\n"
    (tmp_path / "x.csv").write_text(header)
    with pytest.raises(InputError, match="expected rows of b c from 'd' for table 'a', found none"):
        published_rows(["a"], read_tables(path))


def test_bins_hold_their_upper_bounds() -> None:
    values, gains = np.array([0.0, 0.01, 0.02, 1.0]), np.array([1.0, 3.0, 5.0, 7.0])
    means = bin_means(values, gains, (0, 0.01, 0.25, 0.5, 1.0))
    assert [n for _, n in means] == [2, 1, 0, 1]
    assert means[0][0] == 2.0
    assert np.isnan(means[2][0])


def test_plots_are_the_same_each_time() -> None:
    pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")
    first, second = accuracy_against_time(ROWS), accuracy_against_time(ROWS)
    assert first == second
    assert first.startswith("<?xml")
    points = {side: Interval(value=0.7, low=0.6, high=0.75, level=0.95) for side in (0, 8, 16)}
    assert "<svg" in accuracy_against_grid(points, "object IoU")


def test_without_matplotlib_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'uosam\[bench\]'"):
        accuracy_against_time(ROWS)


def test_a_page_of_published_rows_alone() -> None:
    page = to_html(Leaderboard(rows=ROWS, entries=(), samples={}), "a < b")
    assert "<h1>a &lt; b</h1>" in page
    assert "no &amp; idea" in page
    assert page.count("No method has numbers.") == 1
    for found in re.findall(r'base64,([^"]+)', page):
        base64.b64decode(found, validate=True)

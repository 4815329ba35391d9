"""The benchmark on masks of a network: kinds of mistake, scores, and the tables of stored rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks import network, network_tables
from benchmarks.network_scores import KINDS, PROTOCOL, count, kinds_of, score
from uosam.bench.plan import BenchMethod
from uosam.errors import InputError
from uosam.metrics.counts import collect
from uosam.metrics.summary import class_labels, summarise

SIDE = 40


def square(label: int, rows: slice, columns: slice, on: np.ndarray | None = None) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.int32) if on is None else on.copy()
    labels[rows, columns] = label
    return labels


TARGET = square(3, slice(10, 30), slice(10, 30))
COARSE = {
    "good": square(3, slice(10, 30), slice(10, 29)),
    "part": square(3, slice(10, 20), slice(10, 25)),
    "oversize": square(3, slice(0, 40), slice(5, 40)),
    "wrong class": square(5, slice(10, 25), slice(10, 30), square(3, slice(25, 30), slice(10, 30))),
    "missed": square(3, slice(0, 10), slice(0, 40)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_mistake_has_its_kind(kind: str) -> None:
    table = collect([("a", count(COARSE[kind], TARGET))])
    labels = class_labels(PROTOCOL, [table])
    summary = summarise(table, PROTOCOL, labels=labels)
    assert [KINDS[k] for k in kinds_of(table, summary)] == [kind]


def test_scores_tell_gains_by_class_and_kind() -> None:
    pictures = list(COARSE)
    before = collect([(name, count(COARSE[name], TARGET)) for name in pictures])
    after = collect([(name, count(TARGET, TARGET)) for name in pictures])
    numbers = score(before, after, [1.0, 2.0, 3.0, 4.0, 5.0], 5)
    assert numbers["seconds"] == 3
    assert numbers["scores"]["mIoU"]["refined"] == 1
    assert numbers["scores"]["F_beta"]["refined"] == 1
    # Two of five pictures show most of another class, or of this one beside the object.
    assert numbers["scores"]["image_accuracy"]["coarse"] == 0.8
    assert numbers["classes"]["3"][1] == 1
    assert {kind: entry["objects"] for kind, entry in numbers["kinds"].items()} == dict.fromkeys(
        KINDS, 1
    )
    part = numbers["kinds"]["part"]
    assert part["iou"] == pytest.approx([150 / 400, 1])
    assert part["harmed"] == 0
    assert numbers["class_boundaries"]["3"][1] == 1
    assert numbers["class_accuracy"] == {"3": [0.8, 1.0, 5]}
    assert score(before, before, [0.0] * 5, 2)["images"] == 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("images", "gt", "coarse_network"):
        (tmp_path / name).mkdir()
    for index, kind in enumerate(("part", "oversize")):
        colours = np.where(TARGET[..., None] > 0, [200, 30, 30], [30, 30, 200]).astype(np.uint8)
        PIL.Image.fromarray(colours).save(tmp_path / "images" / f"{index}.png")
        PIL.Image.fromarray(TARGET.astype(np.uint8)).save(tmp_path / "gt" / f"{index}.png")
        coarse = PIL.Image.fromarray(COARSE[kind].astype(np.uint8))
        coarse.save(tmp_path / "coarse_network" / f"{index}.png")
    return tmp_path


def stored(data: Path, results: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    methods = [
        BenchMethod(name="grabcut", reference="uosam.baselines.grabcut:refine_grabcut"),
        BenchMethod(name="uosam", reference="coarse"),
    ]
    network.measure(methods, network.declared(data), None, rows.append)
    assert rows[-1]["part"] == "bounds"
    mended = rows[-1]["bounds"]
    assert isinstance(mended, dict)
    assert mended["the true shape of each class that is there"]["mIoU"]["refined"] == 1
    facts = {"part": "network", "settings": [], "commit": "0123456789", "cores": 2, "cpu": "some",
             "time": "2026-11-26T00:00:00", "python": "3.11"}  # fmt: skip
    results.write_text("".join(json.dumps({**facts, **row}) + "\n" for row in rows))
    return rows


def test_rows_fill_the_tables(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "network.jsonl"
    with pytest.raises(InputError, match="must hold a run"):
        network_tables.last_rows(results)
    rows = stored(data, results)
    assert [row.get("method") for row in rows] == ["grabcut", "uosam", None]
    readme, page = tmp_path / "README.md", tmp_path / "page.md"
    marked = "top\n<!-- network: begin -->\nold\n<!-- network: end -->\nbottom\n"
    readme.write_text(marked)
    page.write_text(marked)
    monkeypatch.setattr(network_tables, "README", readme)
    monkeypatch.setattr(network_tables, "PAGE", page)
    network_tables.fill_files(results)
    for path in (readme, page):
        text = path.read_text()
        assert text.startswith("top\n")
        assert text.endswith("bottom\n")
        assert "old" not in text
        assert "| **uosam** | +0.0 | +0.0 |" in text, "no interval of two pictures"
        assert "commit 0123456" in text
    text = page.read_text()
    assert "| part | 1 | 37.5 / " in text
    assert "| bird | " in text
    assert "| aeroplane |" not in text, "a class that no picture shows"
    assert "| without classes that the picture does not show | " in text
    assert "Of `uosam`, before and change:" in text
    assert "The nearest rival: in mIoU it is grabcut: uosam gains 0.0 times as much" in text
    page.write_text("nothing")
    with pytest.raises(InputError, match=r"page\.md must hold the lines"):
        network_tables.fill_files(results)


def test_slow_methods_work_side_by_side(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SLOW", ("one", "two"))
    methods = [BenchMethod(name=name, reference="coarse") for name in ("one", "quick", "two")]
    assert [[m.name for m in group] for group in network.grouped(methods)] == [
        ["quick"],
        ["one", "two"],
    ]


def test_gains_have_intervals() -> None:
    numbers = {"gain": 0.0123, "interval": [-0.01, 0.034]}
    assert network_tables.gain(numbers) == "+1.2 (-1.0 to +3.4)"

"""Benchmarks: every cell once, scores equal to those of the evaluator, failures as rows."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.bench_sets import write_plan, write_set
from uosam.bench.cell import peak_memory
from uosam.bench.digest import source_digest
from uosam.bench.leaderboard import Leaderboard, run_bench
from uosam.bench.plan import BenchMethod, read_plan
from uosam.bench.scores import BenchRow, harmed
from uosam.bench.stored_cell import read_cell, read_map
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.codecs import LabelOptions, read_with
from uosam.metrics.objects import object_scores

SHIFT = "tests.bench_sets:shift"


@pytest.fixture(autouse=True)
def _few_images_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of a handful of images, for speed, have intervals here."""
    for module in ("metrics.bootstrap", "evaluation.conclude"):
        monkeypatch.setattr(f"uosam.{module}.MIN_IMAGES", 2)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOY", str(tmp_path / "toy"))
    return write_set(tmp_path / "toy")


def run(
    path: Path, out: Path, *overrides: str, isolated: bool = False, **chosen: object
) -> tuple[Leaderboard, list[str]]:
    """Run a plan; returns the board and the cells that were really filled."""
    filled = []

    def note(step) -> None:
        if not step.entry.cell.cached:
            filled.append(step.entry.method)

    board = run_bench(read_plan(path, overrides, **chosen), out, on_step=note, isolated=isolated)
    return board, filled


def row(board: Leaderboard, method: str, data: str = "toy") -> BenchRow:
    (found,) = [r for r in board.rows if (r.method, r.data) == (method, data)]
    return found


@pytest.mark.parametrize("folder", ["images", "gt", "coarse/results"])
def test_results_do_not_go_among_what_is_compared(toy: Path, tmp_path: Path, folder: str) -> None:
    plan = write_plan(tmp_path / "plan.yaml", methods={"left": SHIFT})
    with pytest.raises(ConfigError, match=r"output folder .* must not be or lie in"):
        run(plan, toy / folder)


def test_a_row_says_what_the_evaluator_says(toy: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.yaml", methods={"left": SHIFT})
    board, _ = run(plan, tmp_path / "out")
    options = EvaluateOptions(resamples=0)
    coarse = evaluate([toy / "coarse"], toy / "gt", options).methods[0].summary
    expected = {name: score.value() for name, score in coarse.scores.items()}
    measured = row(board, "coarse")
    for name, value in measured.scores.items():
        assert value == pytest.approx(expected[name]), name
    assert set(measured.scores) == set(expected) - {"pixel_accuracy"}
    # The shifted map by hand: object by object, from the files.
    before, after = [], []
    for path in sorted((toy / "coarse").iterdir()):
        labels = read_with(path, LabelOptions(ignore="none")).labels
        target = read_with(toy / "gt" / path.name, LabelOptions()).labels
        before += object_scores(labels, target, background=0)
        after += object_scores(np.roll(labels, -1, axis=1), target, background=0)
    left = row(board, "left")
    assert left.scores["object_IoU"] == pytest.approx(np.mean([o.iou for o in after]))
    gain = left.gains["object_IoU"]
    assert gain.value == pytest.approx(
        np.mean([a.iou - b.iou for a, b in zip(after, before, strict=True)])
    )
    assert gain.low <= gain.value <= gain.high
    worse = [b.iou - a.iou > 0.01 for a, b in zip(after, before, strict=True)]
    assert left.harmed == pytest.approx(np.mean(worse))
    assert (left.images, left.objects) == (3, 6)
    assert 0 < left.seconds < 1
    assert 20 < left.peak_mb < 4000
    assert measured.gains["mIoU"].value == 0
    assert measured.harmed == 0


def test_cells_are_filled_once_and_again_when_something_changed(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    methods = {"left": SHIFT, "more": {"function": SHIFT, "settings": {"by": 2}}}
    plan = write_plan(tmp_path / "plan.yaml", methods=methods)
    first, filled = run(plan, out)
    assert filled == ["coarse", "left", "more"]
    again, filled = run(plan, out)
    assert filled == []
    assert [r.scores for r in again.rows] == [r.scores for r in first.rows]
    methods["more"]["settings"] = {"by": 3}
    write_plan(plan, methods=methods)
    _, filled = run(plan, out)
    assert filled == ["more"]
    # A setting of a segmenter is no part of methods that have none.
    _, filled = run(plan, out, "backend.name=tests.fakes:load", "local_region.cascade=3")
    assert filled == []
    coarse = toy / "coarse" / "p1.png"
    coarse.write_bytes((toy / "coarse" / "p0.png").read_bytes())
    _, filled = run(plan, out)
    assert filled == ["coarse", "left", "more"]
    _, filled = run(plan, out, limit=1)
    assert filled == ["coarse", "left", "more"]
    _, filled = run(plan, out, methods=["left"])
    assert filled == []


def test_settings_of_the_segmenter_count_where_they_are_used(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    methods = {"uosam": "uosam", "SSA": "uosam.baselines.proposal_vote:refine_proposal_vote"}
    methods["SSA"] = {"function": methods["SSA"], "settings": {"grid": 4}}
    plan = write_plan(
        tmp_path / "plan.yaml", methods=methods, set=["backend.name=tests.fakes:load"]
    )
    board, filled = run(plan, out)
    assert filled == ["coarse", "uosam", "SSA"]
    assert row(board, "SSA").scores["object_IoU"] > 0.95
    assert row(board, "uosam").gains["object_IoU"].low > 0
    _, filled = run(plan, out, "local_region.cascade=3")
    assert filled == ["uosam"]
    _, filled = run(plan, out, "backend.precision=bfloat16")
    assert filled == ["uosam", "SSA"]


def test_the_code_of_a_method_and_of_what_it_imports_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mylab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("from mylab import parts\nimport json\n")
    (package / "parts.py").write_text("x = 1\n")
    (package / "other.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_digest(["mylab.method"])
    (package / "other.py").write_text("y = 2\n")
    assert source_digest(["mylab.method"]) == before
    (package / "parts.py").write_text("x = 2\n")
    assert source_digest(["mylab.method"]) != before
    between = source_digest(["mylab.method"])
    (package / "numbers.json").write_text("{}")
    assert source_digest(["mylab.method"]) != between
    assert source_digest(["no_such.module"]) == source_digest([])


def test_what_fails_is_a_row_that_says_so(toy: Path, tmp_path: Path) -> None:
    methods = {
        "fails": "tests.bench_sets:fail",
        "halves": "tests.bench_sets:wrong_size",
        "left": SHIFT,
    }
    plan = write_plan(tmp_path / "plan.yaml", methods=methods)
    board, _ = run(plan, tmp_path / "out", limit=1)
    assert row(board, "fails").note == "failed: ValueError: no idea what to do"
    assert "failed: InputError: the mask must have the size" in row(board, "halves").note
    assert row(board, "fails").scores == {}
    assert row(board, "left").note == ""
    assert board.failed == 2
    _, filled = run(plan, tmp_path / "out", limit=1)
    assert filled == ["fails", "halves"]  # failures are tried again


def test_a_process_of_its_own_keeps_memory_apart_and_may_die(toy: Path, tmp_path: Path) -> None:
    hoard = np.ones(100_000_000)  # 763 MB in this process
    here = peak_memory()
    methods = {"dies": "tests.bench_sets:die"}
    plan = write_plan(tmp_path / "plan.yaml", methods=methods)
    board, _ = run(plan, tmp_path / "out", limit=1, isolated=True)
    assert "failed: its process ended with status 9" in row(board, "dies").note
    assert here > 700
    assert row(board, "coarse").peak_mb < here - 400
    assert hoard[0] == 1


def alive(process: str) -> bool:
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        return "State:\tZ" not in Path("/proc", process, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_run_leaves_no_process_behind(toy: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.yaml", methods={"slow": "tests.bench_sets:sleep"})
    command = [sys.executable, "-m", "uosam", "bench", "-c", str(plan), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run_:
        for _ in range(600):
            if (toy / "pid").is_file() and (toy / "pid").read_text():
                break
            time.sleep(0.05)
        run_.kill()
    child = (toy / "pid").read_text()
    for _ in range(200):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)
    assert [path.suffix for path in (tmp_path / "out" / "cells").iterdir()].count(".json") == 1


def test_seeds_are_for_what_draws(toy: Path, tmp_path: Path) -> None:
    methods = {"left": SHIFT, "lots": "tests.bench_sets:draw_lots"}
    plan = write_plan(tmp_path / "plan.yaml", methods=methods, seeds=[0, 1])
    board, _ = run(plan, tmp_path / "out", limit=2)
    seeds = [(r.method, r.seed) for r in board.rows]
    assert seeds == [("coarse", None), ("left", None), ("lots", 0), ("lots", 1)]
    first, second = (r.scores["mIoU"] for r in board.rows[2:])
    assert first != second


def test_masks_of_k_means_are_matched_over_the_set(toy: Path, tmp_path: Path) -> None:
    places = {kind: f"${{TOY}}/{kind}" for kind in ("images", "gt")}
    clusters = {"classes": 3, "backend": "tests.fakes:load"}
    sets = {"confused": {**places, "coarse": clusters}}
    plan = write_plan(tmp_path / "plan.yaml", sets=sets, methods={"left": SHIFT}, seeds=[0, 1])
    board, _ = run(plan, tmp_path / "out")
    assert [(r.method, r.seed) for r in board.rows] == [
        (method, seed) for seed in (0, 1) for method in ("coarse", "left")
    ]
    # Three flat colours are found as they are, whatever the numbers of the clusters.
    assert board.rows[0].scores["object_IoU"] > 0.8
    assert board.rows[0].objects == 6
    (folder, _) = sorted((tmp_path / "out" / "coarse").iterdir())
    masks = {"masks": {**places, "coarse": str(folder), "matching": "pixels"}}
    given = write_plan(tmp_path / "given.yaml", sets=masks, methods={"left": SHIFT})
    again, _ = run(given, tmp_path / "out")
    assert again.rows[0].scores == board.rows[0].scores
    assert read_plan(given).sets[0].coarse_background is None


def test_averages_over_sets_and_optional_sets(toy: Path, tmp_path: Path) -> None:
    places = {kind: f"${{TOY}}/{kind}" for kind in ("images", "gt", "coarse")}
    other = write_set(tmp_path / "other", 2)
    sets = {
        "toy": places,
        "few": {kind: str(other / kind) for kind in places} | {"instances": True},
        "later": {**places, "optional": True},
    }
    plan = write_plan(tmp_path / "plan.yaml", sets=sets, methods={"left": SHIFT})
    board, _ = run(plan, tmp_path / "out")
    parts = [row(board, "left", name) for name in ("toy", "few")]
    average = row(board, "left", "mean of 2")
    values = [part.scores["object_IoU"] for part in parts]
    assert average.scores["object_IoU"] == pytest.approx(np.mean(values))
    gains = [part.gains["object_IoU"].value for part in parts]
    assert average.gains["object_IoU"].value == pytest.approx(np.mean(gains))
    assert average.gains["object_IoU"].low <= average.gains["object_IoU"].value
    assert average.harmed == pytest.approx(np.mean([part.harmed for part in parts]))
    assert average.images == 5
    assert "mIoU" not in parts[1].scores
    assert average.scores["mIoU"] == pytest.approx(parts[0].scores["mIoU"])
    assert [data.name for data in read_plan(plan, sets=["later"]).sets] == ["later"]


def test_an_average_is_not_made_of_what_is_left(toy: Path, tmp_path: Path) -> None:
    places = {kind: f"${{TOY}}/{kind}" for kind in ("images", "gt", "coarse")}
    plan = write_plan(
        tmp_path / "plan.yaml",
        sets={"toy": places, "twin": places},
        methods={"fails": "tests.bench_sets:fail"},
    )
    board, _ = run(plan, tmp_path / "out", limit=1)
    assert row(board, "fails", "mean of 2").note == "failed on toy, twin"


def test_a_kept_cell_has_its_maps(toy: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.yaml", methods={"left": SHIFT})
    board, _ = run(plan, tmp_path / "out")
    cells = [read_cell(path) for path in (tmp_path / "out" / "cells").glob("*.json")]
    assert len(cells) == 2
    entry, compared = board.entries[1]
    coarse = read_with(toy / "coarse" / "p2.png", LabelOptions(ignore="none")).labels
    assert np.array_equal(read_map(entry.cell, 2), np.roll(coarse, -1, axis=1))
    assert 0 <= harmed(compared) <= 1


FAULTS = [
    ({"method": {}}, "unknown section of plan.yaml 'method'; did you mean 'methods'"),
    ({"methods": ["a"]}, "methods must hold 'name: ...' entries"),
    ({"methods": {"a": {}}}, "methods.a must be module:function"),
    ({"methods": {"a": {"function": SHIFT, "sets": 1}}}, "unknown key in methods.a 'sets'"),
    ({"methods": {"a": "uosm"}}, "unknown method 'uosm'; did you mean 'uosam'"),
    ({"set": "a=b"}, "set must be a list of texts"),
    ({"seeds": []}, "seeds must be a list of whole numbers"),
    ({"limit": 0}, "limit must be a whole number above 0, got 0"),
    ({"resamples": "many"}, "resamples must be a whole number above 0"),
    ({"sets": {"a": {"images": "x"}}}, "sets.a must be a mapping with 'images', 'gt' and 'coarse'"),
    (
        {"sets": {"a": {"images": "x", "gt": "y", "coarse": "z", "backround": 1}}},
        "unknown key in sets.a 'backround'; did you mean 'background'",
    ),
    (
        {"sets": {"a": {"images": "x", "gt": "y", "coarse": "z", "matching": "best"}}},
        "unknown matching 'best'",
    ),
    (
        {"sets": {"a": {"images": "x", "gt": "y", "coarse": "z", "ignore": -3}}},
        "labels.ignore must be an id of 0 or more",
    ),
    (
        {"sets": {"a": {"images": "x", "gt": "y", "coarse": "z", "coarse_background": "sky"}}},
        "sets.a: a background must be an id of 0 or more, or null, got 'sky'",
    ),
    (
        {"sets": {"a": {"images": "${NO_SUCH}/x", "gt": "y", "coarse": "z"}}},
        "sets.a.images needs the environment variable NO_SUCH, which is not set",
    ),
]


@pytest.mark.parametrize(("sections", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults_of_a_plan(toy: Path, tmp_path: Path, sections, message: str) -> None:
    plan = write_plan(tmp_path / "plan.yaml", **sections)
    with pytest.raises(ConfigError) as caught:
        read_plan(plan)
    assert message in str(caught.value)


def test_faults_of_files_and_names(toy: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    for text, message in (("a: [", "expected a YAML file"), ("- a", "expected sections, got list")):
        plan.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_plan(plan)
    write_plan(plan, methods={"left": SHIFT})
    with pytest.raises(ConfigError, match="unknown set 'tog'; did you mean 'toy'"):
        read_plan(plan, sets=["tog"])
    with pytest.raises(ConfigError, match="unknown method 'lft'; did you mean 'left'"):
        read_plan(plan, methods=["lft"])
    write_plan(plan, methods={"left": {"function": SHIFT, "settings": {"buy": 1}}})
    with pytest.raises(ConfigError, match=r"unknown setting of method left 'buy'.*known: by"):
        run(plan, tmp_path / "out")


def test_no_background_can_be_said_in_two_ways(toy: Path, tmp_path: Path) -> None:
    places = {kind: str(toy / kind) for kind in ("images", "gt", "coarse")}
    sets = {name: {**places, "background": no} for name, no in (("a", None), ("b", "none"))}
    found = read_plan(write_plan(tmp_path / "plan.yaml", sets=sets)).sets
    assert [(data.background, data.coarse_background) for data in found] == [(None, None)] * 2


def test_rivals_that_are_not_there() -> None:
    method = BenchMethod(name="a", reference="uosam.baselines.grabcut:refine_grabcut")
    assert callable(method.function())
    other = BenchMethod(name="a", reference="no.such:thing")
    with pytest.raises(ConfigError, match="must be importable as module:function"):
        other.function()


def test_faults_of_a_set(toy: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.yaml")
    mask = toy / "coarse" / "p1.png"
    stored = mask.read_bytes()
    mask.unlink()
    with pytest.raises(InputError, match=r"sets.toy: every ground truth needs .*p1.png has not"):
        run(plan, tmp_path / "out")
    mask.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"sets.toy: InputError: .*p1.png"):
        run(plan, tmp_path / "out")
    mask.write_bytes(stored)
    for path in (toy / "gt").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"sets.toy: expected label maps in .*gt, found none"):
        run(plan, tmp_path / "out")
    places = {kind: str(toy / kind) for kind in ("images", "gt")}
    few = {"classes": 3, "backend": "tests.fakes:load"}
    write_plan(plan, sets={"toy": {**places, "coarse": few}})
    (toy / "images" / "p0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"sets.toy: no coarse mask of p0: "):
        run(plan, tmp_path / "out")


def test_the_command_writes_every_kind_of_table(toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")
    methods = {"left": SHIFT, "fails": "tests.bench_sets:fail"}
    plan = write_plan(tmp_path / "plan.yaml", methods=methods, published=["imagenet-s50"])
    out = tmp_path / "out"
    result = CliRunner().invoke(build_app(), ["bench", "-c", str(plan), str(out), "--limit", "2"])
    assert result.exit_code == 1, result.output
    assert "failed: ValueError" in result.output
    names = {path.name for path in out.iterdir() if path.is_file()}
    assert names == {f"leaderboard.{kind}" for kind in ("md", "csv", "tex", "html")}
    page = (out / "leaderboard.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count('<tr class="published') == 7
    again = CliRunner().invoke(
        build_app(), ["bench", "-c", str(plan), str(out), "--limit", "2", "--method", "left"]
    )
    assert again.exit_code == 0
    assert "left: kept" in again.output


def test_every_packaged_plan_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UOSAM_SHARED", raising=False)
    with pytest.raises(ConfigError, match="needs the environment variable UOSAM_SHARED"):
        read_plan("val")
    monkeypatch.setenv("UOSAM_SHARED", "/nowhere")
    plan = read_plan("val")
    assert [data.name for data in plan.sets] == [
        "human",
        "person",
        "garments",
        "objects",
        "street",
        "facade",
    ]
    assert plan.sets[4].background is plan.sets[4].coarse_background is None
    for method in plan.methods:
        assert callable(method.function()), method.name
    assert yaml.safe_load(Path("configs/bench/val.yaml").read_text())["seeds"] == [0]

"""Ablations: what is compared with what, shared cells, and the faults of a grid."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.bench_sets import write_set
from uosam.bench.ablate import AblationRow, Variant, read_ablation, run_ablation
from uosam.bench.ablate_report import ablation_cells, plot_proposals, to_csv, to_latex, to_markdown
from uosam.bench.leaderboard import run_bench
from uosam.bench.plan import read_plan
from uosam.cli import build_app
from uosam.errors import ConfigError
from uosam.metrics.bootstrap import Interval

FAKE = "backend.name=tests.fakes:load"


@pytest.fixture(autouse=True)
def _few_images_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of a handful of images, for speed, have intervals here."""
    for module in ("metrics.bootstrap", "evaluation.conclude"):
        monkeypatch.setattr(f"uosam.{module}.MIN_IMAGES", 2)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOY", str(tmp_path / "toy"))
    return write_set(tmp_path / "toy")


def write_grid(path: Path, **sections: object) -> Path:
    places = {kind: f"${{TOY}}/{kind}" for kind in ("images", "gt", "coarse")}
    tree = {"sets": {"toy": places}, "set": [FAKE], "resamples": 50, **sections}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


GROUPS = {
    "stages": {"no local stage": ["local_region.enabled=false"], "as it is": []},
    "cascade": {"vary": "local_region.cascade", "values": [1, 2]},
    "proposals": {
        "vary": "global_region.grid",
        "values": [0, 4],
        "with": ["global_region.min_purity=0"],
    },
}


def test_variants_are_compared_with_the_full_configuration(toy: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.yaml", groups=GROUPS)
    rows = run_ablation(read_ablation(grid), tmp_path / "out", isolated=False)
    names = [(row.variant.group, row.variant.name) for row in rows]
    assert names == [
        ("", "full"),
        ("stages", "no local stage"),
        ("stages", "as it is"),
        ("cascade", "1"),
        ("cascade", "2"),
        ("proposals", "0"),
        ("proposals", "4"),
    ]
    full, coarse, same = rows[:3]
    assert full.changes == {}
    change = coarse.changes["object_IoU"]
    expected = coarse.scores["object_IoU"].value - full.scores["object_IoU"].value
    assert change.value == pytest.approx(expected)
    assert change.high < 0
    assert coarse.harmed == 0
    assert same.changes["object_IoU"].value == 0
    assert [row.variant.grid for row in rows[5:]] == [0, 4]
    # The leaderboard's own cells say the same, and serve both.
    path = tmp_path / "plan.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "sets": yaml.safe_load(grid.read_text())["sets"],
                "set": [FAKE],
                "methods": {
                    "u": "uosam",
                    "off": {"function": "uosam", "set": GROUPS["stages"]["no local stage"]},
                },
                "resamples": 50,
            },
            sort_keys=False,
        )
    )
    board = run_bench(read_plan(path), tmp_path / "out", isolated=False)
    assert all(entry.cell.cached for entry, _ in board.entries)
    measured = [r.scores["object_IoU"] for r in board.rows[1:]]
    assert measured == [full.scores["object_IoU"].value, coarse.scores["object_IoU"].value]
    assert board.rows[2].scores == board.rows[0].scores  # both stages off is the coarse map


def test_what_fails_is_a_row_that_says_so(toy: Path, tmp_path: Path) -> None:
    groups = {"segmenter": {"broken": ["backend.name=tests.fakes:load_broken"], "same": []}}
    grid = write_grid(tmp_path / "grid.yaml", groups=groups)
    rows = run_ablation(read_ablation(grid, limit=1), tmp_path / "out", isolated=False)
    assert rows[1].note == "failed on toy: BackendError: no such weights"
    assert rows[1].scores == {}
    assert rows[2].note == ""
    broken = read_ablation(grid, ["backend.name=tests.fakes:load_broken"], limit=1)
    rows = run_ablation(broken, tmp_path / "out", isolated=False)
    assert rows[0].note.startswith("failed on toy")
    groups = {"segmenter": {"sound": [FAKE]}}
    grid = write_grid(
        tmp_path / "grid.yaml", groups=groups, set=["backend.name=tests.fakes:load_broken"]
    )
    rows = run_ablation(read_ablation(grid, limit=1), tmp_path / "out", isolated=False)
    assert rows[1].note == "there is nothing to compare with"


FAULTS = [
    ({}, "expected 'groups' of variants, got None"),
    ({"groups": {"a": []}}, r"groups.a must be a mapping, got \[\]"),
    ({"groups": {"a": {"b": "x=1"}}}, "groups.a.b must be a list of section.key=value"),
    ({"groups": {"a": {"vary": "x.y", "value": 1}}}, "unknown key in groups.a 'value'"),
    ({"groups": {"a": {"vary": "x.y"}}}, "groups.a.values must be a list, got None"),
    ({"groups": {"a": {"b": ["prompts.box=1"]}}}, "did you mean 'boxes'"),
    ({"groups": {"a": {"b": []}}, "methods": {}}, "unknown section of grid.yaml 'methods'"),
]


def test_groups_can_be_chosen(toy: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.yaml", groups=GROUPS)
    chosen = read_ablation(grid, groups=["cascade"]).variants
    assert [variant.overrides for variant in chosen] == [
        ("local_region.cascade=1",),
        ("local_region.cascade=2",),
    ]
    with pytest.raises(ConfigError, match="unknown group 'cascades'; did you mean 'cascade'"):
        read_ablation(grid, groups=["cascades"])


@pytest.mark.parametrize(("sections", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults_of_a_grid(toy: Path, tmp_path: Path, sections, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_ablation(write_grid(tmp_path / "grid.yaml", **sections))


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, level=0.95)


ROWS = [
    AblationRow(
        variant=Variant(group="", name="full", overrides=()),
        scores={"object_IoU": _interval(0.8, 0.7, 0.9)},
        harmed=0.1,
        seconds=0.25,
    ),
    AblationRow(
        variant=Variant(group="grid", name="8", overrides=("global_region.grid=8",), grid=8),
        scores={"object_IoU": _interval(0.75, 0.7, 0.8)},
        changes={"object_IoU": _interval(-0.05, -0.06, -0.04)},
        harmed=0.2,
        seconds=0.5,
    ),
    AblationRow(variant=Variant(group="grid", name="9", overrides=()), note="failed on toy: no"),
]


def test_the_table_by_hand() -> None:
    lines = to_markdown(ROWS).splitlines()[2:]
    assert lines == [
        "|  | variant | object IoU | change [95 %] | harmed | s / picture | settings | note |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
        "|  | full | 80.0 |  | 10.0 | 0.25 |  |  |",
        "| grid | 8 | 75.0 | -5.0 [-6.0, -4.0]* | 20.0 | 0.50 | global_region.grid=8 |  |",
        "|  | 9 |  |  |  |  |  | failed on toy: no |",
    ]
    latex = to_latex(ROWS)
    assert r"\toprule" in latex
    assert "global" not in latex
    full, eight, _ = csv.DictReader(io.StringIO(to_csv(ROWS)))
    assert (full["object_IoU"], full["object_IoU_change"]) == ("0.8", "")
    assert (eight["object_IoU_change_low"], eight["harmed"]) == ("-0.06", "0.2")
    assert len(ablation_cells(ROWS)[1]) == 3


def test_the_plot_needs_two_grids() -> None:
    pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")
    assert plot_proposals(ROWS) is None
    more = AblationRow(
        variant=Variant(group="grid", name="0", overrides=(), grid=0),
        scores={"object_IoU": _interval(0.8, 0.7, 0.9)},
    )
    assert "<svg" in (plot_proposals([*ROWS, more]) or "")


def test_the_command(toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")
    groups = {"proposals": {"vary": "global_region.grid", "values": [0, 2]}}
    grid = write_grid(tmp_path / "grid.yaml", groups=groups)
    arguments = ["ablate", "-c", str(grid), str(tmp_path / "out"), "--limit", "1"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert names == {"ablation.md", "ablation.csv", "ablation.tex", "proposals.svg"}
    assert "proposals: 0: kept" in result.output  # the full configuration again


def test_the_packaged_grid_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UOSAM_SHARED", "/nowhere")
    monkeypatch.setenv("UOSAM_DEPTH", "/nowhere")
    depth = read_ablation("depth")
    assert depth.plan.sets == read_plan("depth").sets
    assert {v.group for v in depth.variants} == {"guide", "drawn, vote on guide"}
    levels = read_ablation("levels", ["backend.name=graphcut"])
    assert {v.group for v in levels.variants} == {"local", "vote", "six"}
    with pytest.raises(ConfigError, match="tiny has levels 1 to 3"):
        read_ablation("levels", groups=("six",))
    ablation = read_ablation("ablation")
    assert [v.grid for v in ablation.variants if v.group == "proposals"] == [0, 8, 16, 32, 64]
    assert ablation.plan.sets == read_plan("val").sets

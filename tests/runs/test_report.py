"""``uosam report`` and ``--report``: what the page tells of a run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import uosam.cli
from tests.conftest import Scene
from uosam.errors import InputError
from uosam.runs.manifest import MANIFEST
from uosam.runs.report import FILE, write_report

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uosam.cli, "COMMANDS", ("refine", "report"))

    def run(line: str) -> tuple[int, str, str]:
        arguments = shlex.split(line)
        if arguments[0] == "refine":
            arguments += ["--model", "tests.fakes:load"]
        monkeypatch.setattr(sys, "argv", ["uosam", *arguments])
        code = 0
        try:
            uosam.cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    for folder, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for name in "abc":
            PIL.Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "masks" / "c.png").write_bytes(b"no mask")
    (tmp_path / "names.txt").write_text("disc\n<b>box\n")
    return tmp_path


def read(path: Path, name: str) -> list[dict[str, object]]:
    found = re.search(f'id="{name}">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    value = json.loads(found[1])
    return value["index"] if name == "head" else value


def test_the_page_tells_what_was_decided_and_what_failed(folders: Path, command: Run) -> None:
    assert command("refine images masks out --report")[0] == 1
    page = folders / "out" / FILE
    first = read(page, "head")
    assert [entry["name"] for entry in first] == ["a", "b"]
    facts = first[0]["facts"]
    assert isinstance(facts, dict)
    assert facts["change"] > 0
    assert facts["objects redrawn"] == 2
    assert facts["time"] > 0
    assert 0 < facts["confidence"] <= 1
    assert "Failed (1)" in page.read_text()
    assert command("report out --classes names.txt")[0] == 0
    table = read(page, "chunk0")[0]["table"]
    assert isinstance(table, list)
    assert sorted(row[:3] for row in table) == [
        ["1", "disc", "redrawn"],
        ["2", "<b>box", "redrawn"],
    ]
    assert "&lt;b&gt;box" in page.read_text()
    assert "<b>box" not in page.read_text()
    assert command("refine images masks out --report")[0] == 1  # the page is no foreign file
    assert not page.read_text().count("<script>alert")


def test_folders_that_moved_are_given(folders: Path, command: Run) -> None:
    command("refine images masks out")
    (folders / "images").rename(folders / "photos")
    code, _, error = command("report out")
    assert code == 2
    assert "give --images DIR" in error
    code, out, _ = command("report out --images photos")
    assert code == 0
    assert "report.html" in out
    (folders / "photos" / "a.png").unlink()
    write_report(folders / "out", images=folders / "photos")
    assert "not there any more" in (folders / "out" / FILE).read_text()
    PIL.Image.new("RGB", (3, 3)).save(folders / "photos" / "b.png")
    write_report(folders / "out", images=folders / "photos")
    assert "differ in size" in (folders / "out" / FILE).read_text()


def test_a_table_of_pairs_is_remembered(folders: Path, command: Run) -> None:
    (folders / "t.csv").write_text("image,mask\nimages/a.png,masks/a.png\n")
    assert command("refine out --manifest t.csv --report")[0] == 0
    assert command("report out")[0] == 0
    assert command("report out --manifest t.csv")[0] == 0


def test_other_folders_and_files_are_one_line(folders: Path, command: Run) -> None:
    code, _, error = command("report images")
    assert (code, error.count("\n")) == (2, 1)
    assert f"found no {MANIFEST}" in error
    code, _, error = command("refine images/a.png masks/a.png x.png --report")
    assert (code, error.count("\n")) == (2, 1)
    command("refine images masks out")
    (folders / "out" / FILE).mkdir()
    (folders / "out" / FILE / "x").touch()
    assert "cannot be written" in command("report out")[2]


@pytest.mark.parametrize(
    "change",
    [
        {"output": "../masks/a.png"},
        {"objects": [[1, True], "x", [1, "yes", 2, 3, 4, 5, 6, 7]]},
        {"objects": 5, "changed": "x", "confidence": None, "accepted": [], "notes": "x"},
        {"changed": 1e400},
    ],
)
def test_forged_manifests_make_a_page(folders: Path, command: Run, change: object) -> None:
    command("refine images masks out")
    lines = [json.loads(line) for line in (folders / "out" / MANIFEST).read_text().splitlines()]
    lines[1].update(change)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folders / "out" / MANIFEST).write_text(text)
    (folders / "out" / "summary.json").write_text('{"notes": [1], "failures": 3, "inputs": [1, 2]}')
    write_report(folders / "out", images=folders / "images", masks=folders / "masks")
    if change == {"output": "../masks/a.png"}:
        assert "lies outside" in (folders / "out" / FILE).read_text()


def test_a_run_of_before_says_that_it_kept_no_decisions(folders: Path, command: Run) -> None:
    command("refine images masks out")
    rows = [json.loads(line) for line in (folders / "out" / MANIFEST).read_text().splitlines()]
    for row in rows[1:]:
        row.pop("objects", None)
        row.pop("changed", None)
    (folders / "out" / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folders / "out" / "summary.json").unlink()
    (folders / "out" / "config.yaml").unlink()
    with pytest.raises(InputError, match="give --images DIR"):
        write_report(folders / "out")
    path = write_report(folders / "out", images=folders / "images", masks=folders / "masks")
    assert "kept no decisions" in path.read_text()

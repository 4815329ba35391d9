"""METEOR and SPICE are those of the public programs, or a line says what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.evaluation.captions import meteor, read_spice


def test_scores_are_those_of_the_public_evaluation(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap", reason="METEOR needs pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("METEOR needs Java")
    golden = json.loads((shared / "golden/sca/metrics.json").read_text())
    items = golden["items"]
    whole, each = meteor([i["candidate"] for i in items], [i["references"] for i in items])
    assert each == pytest.approx([i["meteor"] for i in items], abs=1e-9)
    assert whole == pytest.approx(golden["corpus"]["meteor"], abs=1e-9)
    table = tmp_path / "t.csv"
    table.write_text("caption,reference\na dog,a dog\n")
    found = CliRunner().invoke(build_app(), ["eval-captions", str(table), "--meteor"])
    assert "METEOR    100.0" in found.output


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="found no java; install Java"):
        meteor(["a"], [["a"]])
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setitem(sys.modules, "pycocoevalcap.meteor.meteor", None)
    with pytest.raises(ConfigError, match="pip install pycocoevalcap"):
        meteor(["a"], [["a"]])


def test_spice_is_read_from_the_file_of_its_program(tmp_path: Path) -> None:
    scored = tmp_path / "spice.json"
    rows = [{"image_id": i, "scores": {"All": {"f": f}}} for i, f in enumerate((0.5, 0.25, "nan"))]
    scored.write_text(json.dumps(rows))
    assert read_spice(scored) == 0.375
    table = tmp_path / "t.csv"
    table.write_text("caption,reference\na dog,a dog\n")
    found = CliRunner().invoke(build_app(), ["eval-captions", str(table), "--spice", str(scored)])
    assert "SPICE      37.5" in found.output
    for text in ("[]", "{}", "[1]", "no", '[{"scores": {"All": {"f": "nan"}}}]'):
        scored.write_text(text)
        with pytest.raises(InputError, match=r"spice.json: (expected the JSON|SPICE must have)"):
            read_spice(scored)

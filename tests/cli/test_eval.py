from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from tests.evaluation.test_evaluate import folders  # noqa: F401
from uosam.cli import eval as module
from uosam.errors import ConfigError, InputError

pytestmark = pytest.mark.usefixtures("folders")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(module.command)

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)

    return call


def test_two_folders_are_prediction_and_truth(run, folders):  # noqa: F811
    result = run(folders / "a", folders / "gt", "--json", folders / "o.json", "--markdown")
    assert result.exit_code == 0, result.output
    assert "| object boundary IoU |" in result.output
    positional = json.loads((folders / "o.json").read_text())
    run(folders / "a", "--gt", folders / "gt", "--json", folders / "p.json")
    assert json.loads((folders / "p.json").read_text()) == positional


def test_several_methods_are_compared(run, folders):  # noqa: F811
    result = run(folders / "a", folders / "b", "--gt", folders / "gt", "--trimap", "1,3")
    assert result.exit_code == 0, result.output
    assert "against a" in result.output
    assert "objects worse by > 1 point" in result.output
    assert "trimap_3_mIoU" in result.output


def test_list_names_every_protocol(run):
    from uosam.metrics.protocols import PROTOCOLS

    output = run("--list").output
    assert all(name in output for name in PROTOCOLS)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["a"], InputError, "expected two folders, predictions and ground truth, got 1"),
        (["a", "b", "c"], InputError, "got 3; give the ground truth as --gt"),
        (["a", "b", "--sweep", "0.2"], ConfigError, "--sweep must be A:B or A:B:STEP"),
        (["a", "b", "--sweep", "0.2:x"], ConfigError, "--sweep must be A:B or A:B:STEP"),
        (["a", "b", "--sweep", "0.6:0.2"], ConfigError, "must rise from A to B"),
        (["a", "b", "--sweep", "0:1", "--threshold", "0.1"], ConfigError, "got both"),
        (["a", "b", "--trimap", "1;2"], ConfigError, "--trimap must be pixels such as 1,2,4"),
        (["a", "b", "--background", "-3"], ConfigError, "background must be an id or 'none'"),
    ],
)
def test_bad_arguments(run, arguments, error, text):
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert text in str(result.exception)


def test_a_sweep_is_in_steps(run):
    assert module._thresholds(None, "0.2:0.6") == tuple(k / 100 for k in range(20, 61))
    assert module._thresholds(None, "0:0.5:0.25") == (0, 0.25, 0.5)
    assert module._thresholds(0.3, None) == (0.3,)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, uosam.cli.eval, uosam.cli.submit; "
        "heavy = {'numpy', 'pandas', 'cv2', 'scipy', 'torch'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

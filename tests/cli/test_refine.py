"""``uosam refine`` and ``uosam config`` as a person types them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from rich.console import Console

import uosam.cli
from tests.conftest import Scene
from uosam.cli.progress import show_progress
from uosam.config import Config, dump_config
from uosam.io.codecs import CODECS
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.task import Outcome

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def uosam_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a function that runs a command line in ``tmp_path``: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uosam.cli, "COMMANDS", ("refine", "config"))

    def run(line: str) -> tuple[int, str, str]:
        arguments = shlex.split(line)
        if arguments[0] == "refine":
            arguments += ["--model", "tests.fakes:load"] if "--model" not in arguments else []
        monkeypatch.setattr(sys, "argv", ["uosam", *arguments])
        code = 0
        try:
            uosam.cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    for folder, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for name in "abc":
            PIL.Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_everything_went_well(uosam_command: Run, folders: Path) -> None:
    code, out, err = uosam_command("refine images masks out")
    assert code == 0
    assert "failed             0" in out
    assert "objects redrawn" in out
    assert "read" in out
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["[1/3] a", "[2/3] b", "[3/3] c"]
    assert len(list((folders / "out").glob("*.png"))) == 3
    code, out, err = uosam_command("refine images masks out")
    assert code == 0
    assert "(3 of both by an earlier run)" in out
    assert "a: done before" in err


def test_a_failure_is_named_and_the_status_is_1(uosam_command: Run, folders: Path) -> None:
    (folders / "images/b.png").write_bytes(b"")
    (folders / "images/d.png").touch()
    (folders / "masks/e.png").touch()
    code, out, err = uosam_command("refine images masks out")
    assert code == 1
    reason = "images/b.png: file is empty (0 bytes); copy or download it again"
    assert f"failed: b: {reason}" in out
    assert "[2/3] b: failed\n" in err
    assert (out + err).count(reason) == 1  # said once
    assert "unpaired           2" in out
    assert "unpaired: images/d.png\nunpaired: masks/e.png" in out


def test_many_unpaired_files_are_counted(uosam_command: Run, folders: Path) -> None:
    for index in range(15):
        (folders / f"images/x{index:02}.png").touch()
    code, out, _ = uosam_command("refine images masks out")
    assert code == 0
    assert out.count("unpaired: images") == 10
    assert "unpaired: and 5 more, listed in summary.json" in out
    assert len(json.loads((folders / "out/summary.json").read_text())["unpaired"]) == 15


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("refine images masks", "error: expected IMAGES MASKS OUT, got images masks"),
        ("refine --manifest t.csv images masks out", "expected OUT alone, since a manifest names"),
        ("refine images gone out", "error: gone: expected a folder, but it does not exist"),
        (
            "refine images empty out",
            "no pictures and no masks: is empty the right folder?",
        ),
        ("refine images masks masks", "output folder"),
        ("refine images masks out --codec lus", "unknown codec 'lus'; did you mean 'luss'"),
        ("refine images masks out --workers 0", "engine.workers must be at least 1"),
        ("refine images masks out --background no", "must be int, 'default' or 'none'"),
        ("refine images masks out --model vit_x", "unknown backend 'vit_x'; did you mean"),
        ("refine images masks out -c gone.yaml", "config file gone.yaml does not exist"),
        ("refine images masks out -s engine.worker=1", "did you mean 'workers'"),
        ("config -s engine.worker=1", "did you mean 'workers'"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(
    uosam_command: Run, folders: Path, line: str, message: str
) -> None:
    (folders / "empty").mkdir()
    code, out, err = uosam_command(line)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out
    assert not list(folders.glob("out/*.png"))


def test_flags_are_short_for_settings(uosam_command: Run, folders: Path) -> None:
    (folders / "mine.yaml").write_text("labels: {background: 1}\nengine: {workers: 1}\n")
    code, _, err = uosam_command(
        "refine images masks out -c mine.yaml --background none --codec index8 --device cpu "
        "--overlay drawn --confidence sure -s backend.batch_size=7 --workers 1"
    )
    assert code == 0, err
    settings = yaml.safe_load((folders / "out/config.yaml").read_text())
    labels = {"codec": "index8", "background": "none", "ignore": "default"}
    assert settings["labels"] == {**labels, "scores": None, "colours": None}
    assert settings["backend"]["device"] == "cpu"
    assert settings["backend"]["batch_size"] == 7
    assert sorted(path.name for path in folders.glob("drawn/*")) == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(list(folders.glob("sure/*.png"))) == 3


def test_names_that_are_no_text(uosam_command: Run, folders: Path) -> None:
    for folder in (b"images", b"masks"):
        try:
            os.rename(folder + b"/a.png", folder + b"/caf\xe9 \xc3\xa9.png")
        except OSError:
            pytest.skip("this file system takes valid text only")
    (folders / "masks/b.png").write_bytes(b"")
    os.rename(b"images/c.png", b"images/\xff.png")
    code, out, err = uosam_command("refine images masks out")
    assert code == 1
    assert r"caf\udce9 é: refined" in err
    assert r"unpaired: images/\udcff.png" in out
    assert b"caf\xe9 \xc3\xa9.png" in os.listdir(b"out")
    assert "(1 of both by an earlier run)" in uosam_command("refine images masks out")[1]


def test_every_flag_tells_its_setting(uosam_command: Run) -> None:
    import typer

    from uosam.cli.refine import command

    app = typer.Typer(add_completion=False)
    app.command()(command)
    sections = Config().sections()
    for option in typer.main.get_command(app).params:
        if option.name in ("paths", "config", "settings", "as_json", "report", "help"):
            continue
        if option.name in ("shard", "engine", "gpus"):  # on which machines: no setting of a run
            continue
        text = getattr(option, "help", "")
        section, _, rest = text.partition("Short for -s ")[2].partition(".")
        assert hasattr(sections[section], rest.partition("=")[0]), option.name


def test_masks_of_another_folder_are_not_taken_over(
    uosam_command: Run, folders: Path, scene: Scene
) -> None:
    uosam_command("refine images masks out")
    (folders / "others").mkdir()
    for name in "abc":
        other = np.roll(scene.coarse, 4, axis=1).astype(np.uint8)
        PIL.Image.fromarray(other).save(folders / f"others/{name}.png")
    code, _, err = uosam_command("refine images others out")
    assert code == 2
    assert "out holds results of other masks of the same names: 3 of 3 looked at differ" in err
    assert err.count("\n") == 1
    code, out, _ = uosam_command("refine images others out --overwrite")
    assert code == 0
    assert "by an earlier run" not in out
    PIL.Image.fromarray(scene.coarse.astype(np.uint8)).save(folders / "others/a.png")
    code, out, _ = uosam_command("refine images others out")  # one that changed is redone
    assert code == 0
    assert "2 of both by an earlier run" in out


def test_an_object_counts_once_in_however_many_rounds(uosam_command: Run, folders: Path) -> None:
    counts = []
    for rounds in (1, 4):
        _, out, _ = uosam_command(
            f"refine images masks out{rounds} --model graphcut -s local_region.rounds={rounds}"
        )
        found = dict(line.rsplit(maxsplit=1) for line in out.splitlines() if "objects" in line)
        counts.append(int(found["objects redrawn"]) + int(found["objects kept"]))
    assert counts == [6, 6]


def test_objects_too_small_to_be_asked_are_told(uosam_command: Run, folders: Path) -> None:
    _, out, _ = uosam_command("refine images masks out -s prompts.min_area=0.9")
    assert "objects redrawn    0" in out
    assert "6  too small" in out


def test_single_files(uosam_command: Run, folders: Path) -> None:
    uosam_command("refine images masks expected")
    line = "refine images/a.png masks/a.png refined.png"
    code, out, err = uosam_command(line)
    assert code == 0, err
    assert "refined.png: Refinement(64 x 96, 2 of 2 objects redrawn" in out
    assert (folders / "refined.png").read_bytes() == (folders / "expected/a.png").read_bytes()
    assert sorted(path.name for path in folders.iterdir()) == [
        "expected", "images", "masks", "refined.png",
    ]  # fmt: skip
    code, _, err = uosam_command(line)
    assert (code, err.strip()) == (
        2, "error: refined.png is there already; give --overwrite, or another name",
    )  # fmt: skip
    code, _, _ = uosam_command(f"{line} --overwrite --overlay look --confidence sure")
    assert code == 0
    assert (folders / "look/refined.jpg").is_file()
    assert (folders / "sure/refined.png").is_file()
    code, _, err = uosam_command("refine images/a.png masks/a.png masks/a.png --overwrite")
    assert code == 2
    assert "would be overwritten" in err
    code, _, err = uosam_command("refine images/a.png masks/a.png refined.jpg")
    assert code == 2
    assert "keep ids exactly" in err
    code, _, err = uosam_command("refine images/a.png masks/a.png masks/b.png/c.png")
    assert code == 2
    assert "cannot be written" in err
    code, _, _ = uosam_command("refine images/a.png masks/a.png folder")
    assert code == 0
    assert (folders / "folder/a.png").is_file()


def test_single_files_of_two_sizes(uosam_command: Run, folders: Path) -> None:
    PIL.Image.new("L", (96, 63)).save(folders / "small.png")
    code, _, err = uosam_command("refine images/a.png small.png refined.png")
    assert code == 2
    assert "small.png: mask must have the size of its picture 64 x 96" in err


def test_a_binary_mask_alone(uosam_command: Run, folders: Path, scene: Scene) -> None:
    mask = (scene.coarse == 1).astype(np.uint8) * 255
    PIL.Image.fromarray(mask).save(folders / "binary.png")
    code, out, _ = uosam_command("refine images/a.png binary.png refined.png")
    assert code == 0
    assert "1 of 1 objects redrawn" in out
    assert set(np.unique(np.asarray(PIL.Image.open(folders / "refined.png")))) == {0, 255}


def test_manifest(uosam_command: Run, folders: Path) -> None:
    (folders / "t.csv").write_text("image,mask,name\nimages/a.png,masks/b.png,deep/one\n")
    code, _, err = uosam_command("refine --manifest t.csv out")
    assert code == 0, err
    assert (folders / "out/deep/one.png").is_file()


def test_other_settings_then_overwrite(uosam_command: Run, folders: Path) -> None:
    assert uosam_command("refine images masks out")[0] == 0
    code, _, err = uosam_command("refine images masks out --background none")
    assert code == 2
    assert "labels.background was 'default', now 'none'" in err
    assert "--overwrite" in err
    assert uosam_command("refine images masks out --background none --overwrite")[0] == 0


def test_stopped_by_hand(
    uosam_command: Run, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("uosam.runs.refine.refine", interrupt)
        code, _, err = uosam_command("refine images masks out")
    assert (code, err) == (130, "stopped; the same command goes on from here\n")
    assert uosam_command("refine images masks out")[0] == 0


def test_pass_masks_stay_pass_masks(uosam_command: Run, folders: Path, scene: Scene) -> None:
    ids = np.array([0, 300, 919])[scene.coarse]
    ids[:4, :4] = 1000
    luss = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
    for name in "abc":
        PIL.Image.fromarray(luss).save(folders / f"masks/{name}.png")
    assert uosam_command("refine images masks out")[0] == 0
    with PIL.Image.open(folders / "out/a.png") as picture:
        assert picture.mode == "RGB"
        after = np.asarray(picture).astype(int)
    after = after[..., 0] + 256 * after[..., 1]
    np.testing.assert_array_equal(after == 1000, ids == 1000)
    assert set(np.unique(after)) == {0, 300, 919, 1000}


def test_config_prints_what_would_be_used(uosam_command: Run, tmp_path: Path) -> None:
    assert uosam_command("config") == (0, dump_config(Config()), "")
    (tmp_path / "mine.yaml").write_text("engine: {workers: 3}\n")
    _, out, _ = uosam_command("config -c mine.yaml -s labels.codec=luss")
    settings = yaml.safe_load(out)
    assert settings["engine"]["workers"] == 3
    assert settings["labels"]["codec"] == "luss"


def test_bar_on_a_terminal() -> None:
    console = Console(force_terminal=True, width=100, record=True, quiet=False)
    with show_progress(2, console) as on_outcome:
        on_outcome(Outcome(row={"name": "a", "status": "kept"}))
        on_outcome(Outcome(row={"name": "b", "error": "no [such] file"}))
    text = console.export_text()
    assert "2/2" in text
    assert "pictures/s" in text
    assert "b: failed" in text
    assert "a: kept" not in text


def test_codecs_and_files_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/files.md").read_text()
    for name in (*CODECS, MANIFEST, PARTIAL, "summary.json", "config.yaml"):
        assert f"`{name}`" in text


@pytest.mark.parametrize("dial", ["--level 1,3", "--level 3", "--granularity 0.4"])
def test_the_dial_sets_the_levels_of_both_stages(
    uosam_command: Run, folders: Path, dial: str
) -> None:
    code, _, err = uosam_command(f"refine images masks out --model graphcut {dial}")
    assert code == 0, err
    settings = yaml.safe_load((folders / "out" / "config.yaml").read_text())
    expected = {"--level 1,3": [1, 3], "--level 3": [3], "--granularity 0.4": [4]}[dial]
    assert settings["local_region"]["levels"] == expected
    assert settings["global_region"]["levels"] == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model vit_b --level 2", "vit_b has no levels of granularity"),
        ("--model tiny --level 5", "tiny has levels 1 to 3"),
        ("--model graphcut --level two", "levels must be a list of int"),
        ("--model graphcut --level 3,1", "rising and without repeats"),
        ("--model graphcut --granularity 1.5", "above 0 and at most 1"),
        ("--model graphcut --granularity 0.5 --level 1", "got both"),
    ],
)
def test_a_wrong_dial_is_one_line(
    uosam_command: Run, folders: Path, flags: str, message: str
) -> None:
    code, _, err = uosam_command(f"refine images masks out {flags}")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1

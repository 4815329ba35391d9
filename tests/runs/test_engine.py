"""Runs over folders: same bytes however stopped or spread; one bad file spoils one file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.config import Config, load_config
from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.io.pairs import Pairs, find_pairs
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run
from uosam.structures import IGNORE, Sample

REPO = Path(__file__).resolve().parents[2]
FAKE = "backend.name=tests.fakes:load"


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    """Write six pictures in two folders, with 8-bit masks."""
    for index in range(6):
        name = f"n{index % 2}/p{index}"
        image, mask = tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.roll(scene.image, index, axis=1)).save(image)
        PIL.Image.fromarray(np.roll(scene.coarse, index, axis=1).astype(np.uint8)).save(mask)
    return tmp_path


def config(*overrides: str) -> Config:
    return load_config(overrides=[FAKE, *overrides])


def run(root: Path, *overrides: str, out: str = "out", **more: Any) -> Run:
    pairs = find_pairs(root / "images", root / "masks")
    inputs = [root / "images", root / "masks"]
    return refine_folder(pairs, root / out, config(*overrides), inputs=inputs, **more)


def tree(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder but the timings."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in ("summary.json", "config.yaml")
    }


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]


def test_a_run_writes_masks_and_what_made_them(folders: Path) -> None:
    seen: list[str] = []
    done = run(folders, on_outcome=lambda outcome: seen.append(outcome.row["name"]))
    assert (sum(done.status.values()), done.skipped, dict(done.failures)) == (6, 0, {})
    assert done.status["refined"]
    assert done.counts["accepted"] + sum(done.counts["rejected"].values()) > 0
    assert {"read", "write"} < set(done.seconds)
    out = folders / "out"
    header, *lines = rows(out)
    assert header["settings"]["backend.name"] == "tests.fakes:load"
    assert not any(key.startswith("engine.") for key in header["settings"])
    assert [line["name"] for line in lines] == seen == sorted(seen)
    for line in lines:
        for key, folder in (("output", "out"), ("image", "images"), ("mask", "masks")):
            data = (folders / folder / f"{line['name']}.png").read_bytes()
            assert line[f"{key}_sha256"] == hashlib.sha256(data).hexdigest()
        before, after = (
            read_labels(folders / folder / f"{line['name']}.png") for folder in ("masks", "out")
        )
        assert (line["status"] == "kept") == np.array_equal(before.labels, after.labels)
        assert after.spec.codec == "index8"
    assert load_config(out / "config.yaml") == config()
    assert json.loads((out / "summary.json").read_text())["refined"] == done.status["refined"]
    assert not (out / PARTIAL).exists()


def test_workers_change_nothing(folders: Path) -> None:
    names: list[str] = []
    run(folders, out="one")
    run(folders, "engine.workers=2", out="two", on_outcome=lambda o: names.append(o.row["name"]))
    assert tree(folders / "one") == tree(folders / "two")
    assert names == sorted(names)


def test_resume_does_what_is_missing_and_nothing_else(folders: Path) -> None:
    run(folders)
    before = tree(folders / "out")
    (folders / "out/n0/p0.png").unlink()
    (folders / "out/n0/p2.png").write_bytes(b"half")
    stamps = {path: path.stat().st_mtime_ns for path in (folders / "out").rglob("p*.png")}
    again = run(folders, "engine.workers=1")
    assert again.skipped == 4
    assert sum(again.status.values()) == 6
    assert tree(folders / "out") == before
    untouched = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert len(untouched) == 4


def test_changed_inputs_are_redone(folders: Path, scene: Scene) -> None:
    run(folders)
    PIL.Image.fromarray(scene.image).save(folders / "images/n1/p1.png")
    PIL.Image.fromarray(scene.target.astype(np.uint8)).save(folders / "masks/n1/p3.png")
    assert run(folders).skipped == 4
    changed = tree(folders / "out")
    run(folders, out="fresh")
    assert changed == tree(folders / "fresh")


def test_a_result_of_an_older_input_does_not_outlive_a_failure(folders: Path) -> None:
    run(folders)
    (folders / "masks/n1/p1.png").write_bytes(b"")
    assert list(run(folders).failures) == ["n1/p1"]
    assert not (folders / "out/n1/p1.png").exists()
    assert "error" in next(row for row in rows(folders / "out")[1:] if row["name"] == "n1/p1")


def test_a_row_without_an_end_is_redone(folders: Path) -> None:
    run(folders)
    before = tree(folders / "out")
    text = (folders / "out" / MANIFEST).read_text()
    (folders / "out" / MANIFEST).unlink()
    (folders / "out" / PARTIAL).write_text(text[: len(text) - 200])
    assert 0 < run(folders).skipped < 6
    assert tree(folders / "out") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_started_again_ends_with_the_same_bytes(folders: Path, workers: int) -> None:
    def start(out: str, seconds: str) -> subprocess.Popen[bytes]:
        arguments = ["refine", "images", "masks", out, "--model", "tests.fakes:load_slow"]
        command = [sys.executable, "-m", "uosam", *arguments, "--workers", str(workers)]
        environment = {**os.environ, "FAKE_SECONDS": seconds, "PYTHONPATH": str(REPO)}
        return subprocess.Popen(
            command,
            cwd=folders,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    with start("out", "0.4") as process:
        deadline = time.monotonic() + 60
        while len(list((folders / "out").rglob("p*.png"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            assert process.poll() is None, process.stdout and process.stdout.read().decode()
        process.send_signal(signal.SIGKILL)  # the parent alone: its workers must follow
        process.wait()
    deadline = time.monotonic() + 10
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _members(process.pid)
    assert not (folders / "out" / MANIFEST).exists()
    assert (folders / "out" / PARTIAL).exists()

    for out in ("out", "unbroken"):
        with start(out, "0") as process:
            output, _ = process.communicate()
        assert process.returncode == 0, output.decode()
    assert b"by an earlier run" not in output
    assert tree(folders / "out") == tree(folders / "unbroken")
    assert len(tree(folders / "out")) == 7


def _members(session: int) -> list[str]:
    """List the processes of a session that are alive."""
    table = subprocess.run(["ps", "-eo", "sess,stat,args"], capture_output=True, check=True)
    lines = (line.split(maxsplit=2) for line in table.stdout.decode().splitlines()[1:])
    return [line[2] for line in lines if line[0] == str(session) and not line[1].startswith("Z")]


def test_other_settings_do_not_mix(folders: Path) -> None:
    run(folders)
    before = tree(folders / "out")
    with pytest.raises(
        ConfigError,
        match=r"other settings \(labels.background was 'default', now 'none'\); give another",
    ):
        run(folders, "labels.background=none")
    with pytest.raises(ConfigError, match=r"backend.name was 'tests.fakes:load', now 'tests.fa"):
        run(folders, "backend.name=tests.fakes:load_slow")
    changes = [
        "labels.background=1",
        "labels.ignore=2",
        "labels.codec=index8",
        "backend.device=cpu",
    ]
    with pytest.raises(
        ConfigError, match=r"labels.codec was 'auto', now 'index8'; .* and 1 more\)"
    ):
        run(folders, *changes)
    assert tree(folders / "out") == before
    assert run(folders, "engine.workers=2", "backend.batch_size=3").skipped == 6


def test_other_version_does_not_mix(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folders)
    monkeypatch.setattr("uosam.__version__", "99")
    with pytest.raises(ConfigError, match=r"\(uosam was '.*', now '99'\)"):
        run(folders)


def test_overwrite_leaves_nothing_of_the_old(folders: Path) -> None:
    run(folders)
    (folders / "masks/n1/p5.png").unlink()
    (folders / "out/mine.txt").touch()
    done = run(folders, "labels.background=none", "engine.overwrite=true")
    assert done.skipped == 0
    assert not (folders / "out/n1/p5.png").exists()
    assert (folders / "out/mine.txt").exists()
    assert len(rows(folders / "out")) == 6
    assert run(folders, "labels.background=none", "engine.overwrite=true").skipped == 5


def test_a_folder_of_something_else_is_left_alone(folders: Path) -> None:
    (folders / "out").mkdir()
    (folders / "out/thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds no manifest\.jsonl \(found thesis\.tex\)"):
        run(folders)
    assert [path.name for path in (folders / "out").iterdir()] == ["thesis.tex"]
    assert run(folders, "engine.overwrite=true").status["refined"]


def test_results_of_other_pictures_stay(folders: Path) -> None:
    run(folders)
    shutil.move(folders / "masks/n0", folders / "elsewhere")
    assert run(folders).skipped == 3
    assert len(rows(folders / "out")) == 7


@pytest.mark.parametrize(
    ("out", "overrides", "message"),
    [
        ("masks", [], r"output folder .*masks must not be or lie in .*masks"),
        ("images/refined", [], r"must not be or lie in .*images; give a folder beside it"),
        ("out", ["engine.overlay={0}/out"], r"overlay folder .*out must not be or lie in .*out"),
        ("out", ["engine.confidence={0}/out/c"], "confidence folder .* must not be"),
        ("out", ["engine.overlay={0}/images"], "overlay folder .* must not be"),
    ],
)
def test_inputs_are_never_written(
    folders: Path, out: str, overrides: list[str], message: str
) -> None:
    before = tree(folders)
    with pytest.raises(ConfigError, match=message):
        run(folders, *(text.format(folders) for text in overrides), out=out)
    assert tree(folders) == before


def test_a_single_mask_is_not_overwritten(folders: Path) -> None:
    image, mask = folders / "images/n0/p0.png", folders / "masks/n0/p0.png"
    with pytest.raises(ConfigError, match=r"p0\.png would be overwritten"):
        refine_folder(find_pairs(image, mask), mask.parent, config())


def test_output_that_cannot_be_a_folder(folders: Path) -> None:
    (folders / "out").touch()
    with pytest.raises(InputError, match="output folder cannot be written"):
        run(folders)


def test_two_runs_at_once(folders: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (folders / "out").mkdir()
    with (folders / "out" / PARTIAL).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run is writing into"):
            run(folders)


def save(path: Path, array: Any, mode: str | None = None) -> None:
    picture = PIL.Image.fromarray(np.asarray(array))
    (picture.convert(mode) if mode else picture).save(path)


BAD: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "empty picture": (lambda image, mask: image.write_bytes(b""), r"file is empty \(0 bytes\)"),
    "cut picture": (
        lambda image, mask: image.write_bytes(image.read_bytes()[:900]),
        "damaged or truncated",
    ),
    "text as picture": (lambda image, mask: image.write_text("hello"), "not a picture"),
    "empty mask": (lambda image, mask: mask.write_bytes(b""), r"file is empty \(0 bytes\)"),
    "mask of other size": (
        lambda image, mask: save(mask, np.zeros((5, 7), np.uint8)),
        r"size of its picture 64 x 96 \(H x W\), got 5 x 7; resize",
    ),
    "turned mask": (
        lambda image, mask: save(mask, np.zeros((96, 64), np.uint8)),
        "64 x 96 .* got 96 x 64",
    ),
    "photo as mask": (
        lambda image, mask: save(mask, np.full((64, 96, 3), 9, np.uint8)),
        "blue must be 0",
    ),
    "picture is gone": (lambda image, mask: image.unlink(), "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_sample_is_recorded_and_the_rest_goes_on(folders: Path, case: str) -> None:
    spoil, message = BAD[case]
    pairs = find_pairs(folders / "images", folders / "masks")
    spoil(folders / "images/n0/p2.png", folders / "masks/n0/p2.png")
    done = refine_folder(pairs, folders / "out", config())
    assert list(done.failures) == ["n0/p2"]
    assert sum(done.status.values()) == 5
    assert re.search(message, done.failures["n0/p2"])
    assert "unexpected" not in done.failures["n0/p2"]
    assert "\n" not in done.failures["n0/p2"]
    line = next(row for row in rows(folders / "out")[1:] if row["name"] == "n0/p2")
    assert line == {"name": "n0/p2", "error": done.failures["n0/p2"]}
    assert len(list((folders / "out").rglob("p*"))) == 5
    assert not list((folders / "out").rglob(".*"))


RNG = np.random.default_rng(0)
ODD: dict[str, tuple[Any, str | None, Any]] = {
    "one pixel": ([[[9, 9, 9]]], None, [[1]]),
    "one pixel, background": ([[[9, 9, 9]]], None, [[0]]),
    "one row": (RNG.integers(0, 255, (1, 40, 3)), None, np.arange(40)[None] // 20),
    "grey": (RNG.integers(0, 255, (30, 40, 3)), "L", np.eye(30, 40)),
    "rgba": (RNG.integers(0, 255, (30, 40, 3)), "RGBA", np.eye(30, 40)),
    "palette": (RNG.integers(0, 255, (30, 40, 3)), "P", np.eye(30, 40)),
    "all background": (RNG.integers(0, 255, (30, 40, 3)), None, np.zeros((30, 40))),
    "one class fills it": (RNG.integers(0, 255, (30, 40, 3)), None, np.full((30, 40), 7)),
    "all ignored": (RNG.integers(0, 255, (30, 40, 3)), None, np.full((30, 40), 255)),
    "one colour": (np.full((30, 40, 3), 128), None, np.eye(30, 40)),
}


@pytest.mark.parametrize("background", ["default", "none"])
def test_odd_pictures_and_masks_are_refined(tmp_path: Path, background: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, (pixels, mode, ids) in ODD.items():
        save(tmp_path / f"images/{name}.png", np.asarray(pixels, np.uint8), mode)
        save(tmp_path / f"masks/{name}.png", np.asarray(ids, np.uint8))
    save(tmp_path / "images/16 bit.png", (np.arange(1200) * 50).reshape(30, 40).astype(np.uint16))
    save(tmp_path / "masks/16 bit.png", np.eye(30, 40).astype(np.uint8))
    PIL.Image.new("CMYK", (40, 30), (9, 99, 9, 0)).save(tmp_path / "images/cmyk.jpg")
    save(tmp_path / "masks/cmyk.png", np.eye(30, 40).astype(np.uint8))
    done = run(tmp_path, f"labels.background={background}")
    assert dict(done.failures) == {}
    assert sum(done.status.values()) == len(ODD) + 2
    for path in (tmp_path / "masks").iterdir():
        before, after = (
            read_labels(folder / path.name) for folder in (path.parent, tmp_path / "out")
        )
        np.testing.assert_array_equal(before.labels == IGNORE, after.labels == IGNORE)
        assert set(np.unique(after.labels)) <= set(np.unique(before.labels))


def test_900_classes_as_pass_writes_them(tmp_path: Path) -> None:
    ids = np.arange(900).reshape(30, 30).repeat(3, axis=0).repeat(3, axis=1) + 20
    ids[ids == 900] = 1000
    luss = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    save(tmp_path / "images/a.png", RNG.integers(0, 255, (90, 90, 3)).astype(np.uint8))
    save(tmp_path / "masks/a.png", luss)
    assert dict(run(tmp_path).failures) == {}
    with PIL.Image.open(tmp_path / "out/a.png") as picture:
        after = np.asarray(picture).astype(int)
    assert not after[..., 2].any()
    after = after[..., 0] + 256 * after[..., 1]
    np.testing.assert_array_equal(after == 1000, ids == 1000)
    assert set(np.unique(after)) <= set(np.unique(ids)) | {0}  # what objects give up is background


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_scores_come_back_as_scores(tmp_path: Path, scene: Scene, suffix: str) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    save(tmp_path / "images/a.png", scene.image)
    scores = (np.eye(3)[scene.coarse].transpose(2, 0, 1) * 4 - 2).astype(np.float16)
    np.save(tmp_path / "masks/a.npy", scores)
    if suffix == ".npz":
        np.savez(tmp_path / "masks/a.npz", scores=scores)
        (tmp_path / "masks/a.npy").unlink()
    done = run(tmp_path)
    assert dict(done.failures) == {}
    after = read_labels(tmp_path / f"out/a{suffix}")
    assert after.stored.dtype == np.float16
    np.testing.assert_array_equal(np.sort(after.stored, axis=0), np.sort(scores, axis=0))


def test_full_disk_for_one_file(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "p2.png":
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    done = run(folders)
    assert list(done.failures) == ["n0/p2"]
    assert done.failures["n0/p2"].endswith(
        "out/n0/p2.png: No space left on device; free space and run again"
    )
    assert not list((folders / "out").rglob("*p2*"))
    monkeypatch.undo()
    assert run(folders).skipped == 5
    run(folders, out="fresh")
    assert tree(folders / "out") == tree(folders / "fresh")


def test_full_disk_for_all_files(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    done = run(folders)
    reason = done.failures["manifest.jsonl"]
    assert reason.endswith("config.yaml: No space left on device; free space and run again")
    monkeypatch.undo()
    assert dict(run(folders).failures) == {}
    run(folders, out="fresh")
    assert tree(folders / "out") == tree(folders / "fresh")


def test_a_disk_that_is_full_before_the_start(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("uosam.runs.journal._append", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            run(folders)
    assert not list((folders / "out").iterdir())


def test_the_unforeseen_is_recorded_with_its_place(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr("uosam.runs.refine.refine", broken)
    done = run(folders)
    assert len(done.failures) == 6
    assert done.failures["n0/p0"].startswith("unexpected IndexError at test_engine.py:")


def test_a_sample_needs_both_files(tmp_path: Path) -> None:
    pairs = Pairs(samples=[Sample(name="a", coarse=tmp_path / "a.png")])
    done = refine_folder(pairs, tmp_path / "out", config())
    assert done.failures == {"a": "sample 'a' must have a picture and a coarse mask"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_does_not_load_ends_the_run(folders: Path, workers: int) -> None:
    with pytest.raises(BackendError, match="no such weights"):
        run(folders, "backend.name=tests.fakes:load_broken", f"engine.workers={workers}")
    assert not list((folders / "out").iterdir())
    assert dict(run(folders).failures) == {}


def test_a_worker_that_dies_ends_the_run(folders: Path) -> None:
    with pytest.raises(BackendError, match=r"a worker process died.* fewer --workers"):
        run(folders, "backend.name=tests.fakes:load_dying", "engine.workers=2")


def test_pictures_for_people(folders: Path) -> None:
    extras = [f"engine.overlay={folders}/drawn", f"engine.confidence={folders}/sure"]
    run(folders, *extras)
    assert len(list((folders / "drawn").rglob("*.jpg"))) == 6
    with PIL.Image.open(folders / "sure/n0/p0.png") as picture:
        assert (picture.mode, picture.size) == ("L", (96, 64))
    (folders / "drawn/n1/p1.jpg").unlink()
    assert run(folders, *extras).skipped == 5
    assert (folders / "drawn/n1/p1.jpg").exists()
    run(folders, out="plain")
    assert tree(folders / "plain") == tree(folders / "out")

"""Shards share no picture, have all of them, and together end as one run would have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.conftest import Scene
from tests.trees import tree
from uosam.cli import build_app
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.io.pairs import find_pairs, find_pictures
from uosam.runs.everything import find_in_folder, load_everything
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder
from uosam.runs.spread.launch import Spread
from uosam.runs.spread.merging import merge_manifests
from uosam.runs.spread.shard import Shard, parse_shard
from uosam.runs.summary import Run
from uosam.structures import Sample


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    for index in range(8):
        image = tmp_path / f"images/n{index % 2}/p{index}.png"
        mask = tmp_path / f"masks/n{index % 2}/p{index}.png"
        for path, array in ((image, scene.image), (mask, scene.coarse.astype(np.uint8))):
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(np.roll(array, index, axis=1)).save(path)
    return tmp_path


def run(root: Path, out: str, shard: str | None = None, *overrides: str) -> Run:
    config = load_config(overrides=["backend.name=tests.fakes:load", *overrides])
    pairs = find_pairs(root / "images", root / "masks")
    return refine_folder(pairs, root / out, config, spread=Spread(shard=parse_shard(shard)))


names = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=60)


@given(names=names, count=st.integers(1, 70), seed=st.randoms())
@settings(max_examples=60, deadline=None)
def test_shards_are_disjoint_complete_and_blind_to_the_others(names, count, seed) -> None:
    samples = [Sample(name=name) for name in sorted(names)]
    shards = [Shard(number=number, count=count) for number in range(1, count + 1)]
    taken = [sample.name for shard in shards for sample in shard.take(samples)]
    assert sorted(taken) == sorted(names)
    fewer = seed.sample(samples, len(samples) // 2)
    for shard in shards:
        held = {sample.name for sample in shard.take(samples)}
        assert {sample.name for sample in shard.take(fewer)} == held & {s.name for s in fewer}


def test_shards_are_of_similar_size() -> None:
    samples = [Sample(name=f"n{index % 50:05d}/img_{index:06d}") for index in range(16_000)]
    sizes = [len(Shard(number=number, count=16).take(samples)) for number in range(1, 17)]
    assert min(sizes) > 850
    assert max(sizes) < 1150


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "²/4", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a shard must be I/N"):
        parse_shard(text)


def test_merged_shards_are_the_bytes_of_one_run(folders: Path) -> None:
    (folders / "images/n0/p4.png").write_bytes(b"")
    whole = run(folders, "whole")
    assert list(whole.failures) == ["n0/p4"]
    done = [run(folders, "out", f"{number}/3") for number in (2, 1, 3)]
    assert sum(sum(one.status.values()) + len(one.failures) for one in done) == 8
    assert not (folders / "out" / MANIFEST).exists()
    merged = merge_manifests(folders / "out")
    assert merged.shards == 3
    assert dict(merged.failures) == dict(whole.failures)
    assert {k: v for k, v in whole.status.items() if v} == merged.status
    assert tree(folders / "out") == tree(folders / "whole")
    figures = [json.loads((folders / o / "summary.json").read_text()) for o in ("out", "whole")]
    for key in ("refined", "kept", "failures", "unpaired", "settings", "accepted", "rejected"):
        assert figures[0][key] == figures[1][key], key
    assert run(folders, "out").skipped == 7


def test_a_shard_resumes_whatever_the_number_of_shards(folders: Path) -> None:
    run(folders, "out", "1/2")
    finished = json.loads((folders / "out/summary.shard-1-of-2.json").read_text())["refined"]
    again = run(folders, "out", "1/2")
    assert again.skipped == sum(again.status.values()) >= finished
    other = [run(folders, "out", f"{number}/3") for number in (1, 2, 3)]
    assert sum(one.skipped for one in other) == again.skipped
    assert merge_manifests(folders / "out").shards == 3
    run(folders, "whole")
    assert tree(folders / "out") == tree(folders / "whole")
    assert run(folders, "out", "2/4").skipped == sum(run(folders, "out", "2/4").status.values())


def test_a_whole_run_takes_over_what_shards_did(folders: Path) -> None:
    done = run(folders, "out", "1/2")
    whole = run(folders, "out")
    assert whole.skipped == sum(done.status.values())
    run(folders, "whole")
    assert tree(folders / "out") == tree(folders / "whole")


def test_unfinished_shards_are_named(folders: Path) -> None:
    for number in (1, 3):
        run(folders, "out", f"{number}/4")
    with pytest.raises(ConfigError, match=r"got none of 2/4, 4/4; run .* --shard 2/4"):
        merge_manifests(folders / "out")
    run(folders, "out", "2/4")
    run(folders, "out", "4/4")
    (folders / "out/manifest.shard-4-of-4.partial.jsonl").touch()
    with pytest.raises(ConfigError, match=r"got none of 4/4"):
        merge_manifests(folders / "out")


def test_there_must_be_shards_to_merge(folders: Path) -> None:
    with pytest.raises(InputError, match=r"expected the output folder of a run with --shard"):
        merge_manifests(folders / "nowhere")
    run(folders, "out")
    with pytest.raises(InputError, match=r"found none; it was merged already"):
        merge_manifests(folders / "out")
    (folders / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected manifests of shards, found none$"):
        merge_manifests(folders / "empty")
    (folders / "empty/manifest.shard-1-of-1.jsonl").touch()
    with pytest.raises(InputError, match="without a line about settings"):
        merge_manifests(folders / "empty")


def test_shards_of_other_settings_do_not_mix(folders: Path) -> None:
    run(folders, "out", "1/2")
    with pytest.raises(ConfigError, match=r"labels.background was 'default', now 'none'"):
        run(folders, "out", "2/2", "labels.background=none")
    assert not list((folders / "out").glob("*2-of-2*"))
    run(folders, "other", "2/2", "labels.background=none")
    path = folders / "other/manifest.shard-2-of-2.jsonl"
    path.rename(folders / "out" / path.name)
    with pytest.raises(ConfigError, match="other settings"):
        merge_manifests(folders / "out")


def test_a_shard_removes_nothing_of_the_others(folders: Path) -> None:
    with pytest.raises(ConfigError, match="--overwrite would remove what other shards"):
        run(folders, "out", "1/2", "engine.overwrite=true")
    (folders / "out").mkdir(exist_ok=True)
    leftover = folders / "out/.uosam-0123456789abcdef.tmp"
    leftover.touch()
    for number in (1, 2):
        run(folders, "out", f"{number}/2")
    assert leftover.exists(), "another shard may be writing it"
    merge_manifests(folders / "out")
    assert not leftover.exists()


def test_overwriting_removes_what_shards_did(folders: Path) -> None:
    run(folders, "out", "1/2")
    assert run(folders, "out", None, "labels.background=none", "engine.overwrite=true").skipped == 0
    assert not list((folders / "out").glob("*shard*"))


@pytest.mark.parametrize(("held", "asked"), [(None, "1/2"), ("1/2", None), ("1/2", "1/2")])
def test_a_folder_in_use_is_refused(folders: Path, held: str | None, asked: str | None) -> None:
    fcntl = pytest.importorskip("fcntl")
    (folders / "out").mkdir()
    name = PARTIAL if held is None else "manifest.shard-1-of-2.partial.jsonl"
    with (folders / "out" / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run is writing into"):
            run(folders, "out", asked)
        run(folders, "out" if held else "free", "2/2")


def test_proposals_in_shards(folders: Path) -> None:
    options = load_everything(None, ["backend.name=tests.fakes:load", "everything.grid=2"])
    samples, _ = find_pictures(folders / "images")
    find_in_folder(samples, folders / "whole", options)
    for number in (1, 2):
        spread = Spread(shard=Shard(number=number, count=2))
        find_in_folder(samples, folders / "out", options, spread=spread)
    merge_manifests(folders / "out")
    assert tree(folders / "out") == tree(folders / "whole")


def test_the_command_line(folders: Path) -> None:
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, result.output
        return result.output

    images, masks, out = (str(folders / name) for name in ("images", "masks", "out"))
    line = ["refine", images, masks, out, "--model", "graphcut"]
    said = "".join(call(*line, "--shard", f"{number}/2") for number in (1, 2))
    assert re.search(r"when all 2 shards are done, uosam merge-manifests", said)
    said = call("merge-manifests", out)
    assert re.search(r"shards +2\npictures +8\n", said)
    call("coarse", images, str(folders / "c"), "--k", "2", "--shard", "1/1")
    assert "pictures           8" in call("merge-manifests", str(folders / "c"))

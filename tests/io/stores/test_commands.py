"""Every command with its inputs and outputs in a store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.io.stores.places import command, stored, tree, upload
from uosam.errors import ConfigError, InputError
from uosam.io.stores import mounts as mounting
from uosam.io.stores.store import Store

FAKE = ("-s", "backend.name=tests.fakes:load")
CAPTIONER = ("--captioner", "tests.runs.words.test_caption:load", "--device", "cpu")


@pytest.fixture
def base(bucket: str, photos: Path) -> str:
    """A bucket with pictures and masks."""
    for part in ("images", "masks"):
        upload(photos / part, Store(url=f"s3://{bucket}/{part}"))
    return f"s3://{bucket}"


@pytest.fixture(autouse=True)
def nothing_stays(staging: Path):
    yield
    assert [path for path in staging.rglob("*") if path.is_file() and "tmp" not in path.parts] == []


def both(name: str, base: str, photos: Path, *arguments: str) -> tuple[dict, dict]:
    """Run a command from and to the bucket and on this machine; return what each wrote."""
    places = ["images", "masks", "out"]
    command(name, *(str(photos / place) for place in places), *arguments)
    far = command(name, *(f"{base}/{place}" for place in places), *arguments)
    assert "staging" not in far
    return stored(f"{base}/out"), tree(photos / "out")


def test_scores_lie_where_they_are_wanted(base: str, photos: Path) -> None:
    flags = {"--csv": "a.csv", "--json": "deep/a.json", "--per-image": "b.parquet",
             "--html": "c.html", "--gallery": "gallery"}  # fmt: skip
    sides = [f"{base}/masks", f"{base}/masks"]
    table = photos / "classes.txt"
    table.write_text("disc\nbox\n")
    Store(url=base).write("classes.txt", table.read_bytes())
    outputs = [part for flag, name in flags.items() for part in (flag, f"{base}/scores/{name}")]
    command("eval", *sides, *outputs, "--classes", f"{base}/classes.txt",
            "--images", f"{base}/images", "--resamples", "10")  # fmt: skip
    found = {name: Store(url=f"{base}/scores").read(name) for name in flags.values() if "." in name}
    assert found["a.csv"].splitlines()[1].startswith(b"masks,mIoU,100")
    assert json.loads(found["deep/a.json"])["methods"][0]["classes"][1]["name"] == "disc"
    assert "gallery/index.md" in set(Store(url=f"{base}/scores").names())


def test_names_lie_where_they_are_wanted(base: str, photos: Path) -> None:
    words = photos / "words.txt"
    words.write_text("tomato\ngrass\nsea\n")
    flags = ["--model", "tests.text_fakes:load", "--vocabulary", str(words)]
    far, here = both("name", base, photos, *flags)
    assert far == here
    assert {"names.csv", "names.json", "index.html", "sheet.png"} < set(far)
    table = far["names.csv"].replace(b"tomato", b"apple")
    Store(url=f"{base}/out").write("names.csv", table)
    said = command("name", *(f"{base}/{part}" for part in ("images", "masks", "out")), *flags)
    assert "names.csv had been edited" in said
    assert Store(url=f"{base}/out").read("names.edited-1.csv") == table
    assert Store(url=f"{base}/out").read("names.csv") == far["names.csv"]
    command("name", f"{base}/images", f"{base}/masks", f"{base}/named",
            "--apply", f"{base}/out/names.csv", "--overlay", f"{base}/shown")  # fmt: skip
    assert Store(url=f"{base}/named").read("classes.txt").startswith(b"0 background\n1 ")
    assert set(Store(url=f"{base}/shown").names()) == {f"n{i % 2}/p{i}.jpg" for i in range(4)}
    with pytest.raises(ConfigError, match="masks that were named already"):
        command("name", f"{base}/images", f"{base}/named", f"{base}/again",
                "--apply", f"{base}/out/names.csv")  # fmt: skip


def test_regions_are_named_in_stores(base: str, photos: Path) -> None:
    words = photos / "words.txt"
    words.write_text("tomato\ngrass\nsea\n")
    flags = ["--model", "tests.text_fakes:load", "--vocabulary", str(words), "--by", "regions"]
    far, here = both("name", base, photos, *flags, "--format", "ssa")
    assert far == here
    assert "ssa/n0/p0_semantic.json" in far


def test_phrases_lie_where_they_are_wanted(base: str, photos: Path) -> None:
    far, here = both("caption", base, photos, *CAPTIONER)
    assert far == here
    assert {"captions.json", "captions.csv", "classes.json"} < set(far)
    drawn = ["--overlay", f"{base}/seen", *CAPTIONER]
    command("caption", f"{base}/images", f"{base}/masks", f"{base}/other", *drawn)
    assert len(list(Store(url=f"{base}/seen").names())) == 4


def test_a_set_is_clustered_in_a_store(base: str, photos: Path) -> None:
    command("coarse", str(photos / "images"), str(photos / "out"), "--k", "2", "--model", "kmeans")
    far = command("coarse", f"{base}/images", f"{base}/out", "--k", "2", "--model", "kmeans",
                  "--scores", f"{base}/soft")  # fmt: skip
    assert f"uosam refine {base}/images {base}/out" in far
    masks = {name: data for name, data in stored(f"{base}/out").items() if name.endswith(".png")}
    plain = tree(photos / "out")
    assert masks == {name: plain[name] for name in plain if name.endswith(".png")}
    assert len(list(Store(url=f"{base}/soft").names())) == 4


def test_a_page_of_a_run_in_a_store(base: str, photos: Path) -> None:
    places = [f"{base}/{part}" for part in ("images", "masks", "out")]
    command("refine", *places, *FAKE, "--report")
    page = Store(url=f"{base}/out").read("report.html")
    assert page.count(b"n1/p3") > 0
    Store(url=f"{base}/out").remove("report.html")
    said = command("report", f"{base}/out")
    assert said.startswith(f"{base}/out/report.html: ")
    again = Store(url=f"{base}/out").read("report.html")
    assert b"not there any more" not in again
    assert len(again) == pytest.approx(len(page), rel=0.01)


def test_shards_meet_in_a_store(base: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [str(photos / part) for part in ("images", "masks", "out")]
    command("refine", *here, *FAKE)
    places = [f"{base}/{part}" for part in ("images", "masks", "out")]
    for number in (1, 2):
        monkeypatch.setenv("UOSAM_STAGING", str(photos / f"machine{number}"))
        monkeypatch.setattr(mounting, "_mounts", {})
        monkeypatch.setattr(mounting, "_kept", set())
        said = command("refine", *places, *FAKE, "--shard", f"{number}/2")
        assert f"uosam merge-manifests {base}/out" in said
        with pytest.raises(ConfigError, match="other settings"):
            command("refine", *places, *FAKE, "--background", "1", "--shard", "2/2")
    assert "shards             2" in command("merge-manifests", f"{base}/out")
    assert stored(f"{base}/out") == {
        name: data for name, data in tree(photos / "out").items() if name != "config.yaml"
    }
    with pytest.raises(InputError, match="it was merged already"):
        command("merge-manifests", f"{base}/out")


def test_a_run_ends_what_shards_in_a_store_began(base: str, photos: Path) -> None:
    places = [f"{base}/{part}" for part in ("images", "masks", "out")]
    command("refine", *places, *FAKE, "--shard", "1/2")
    said = command("refine", *places, *FAKE)
    assert "by an earlier run" in said
    assert "(0 of both" not in said
    assert not [name for name in Store(url=f"{base}/out").names() if "shard" in name]


def test_masks_are_handed_on_from_and_to_a_store(base: str, photos: Path) -> None:
    command("export", f"{base}/masks", f"{base}/exported", "--to", "coco")
    command("export", str(photos / "masks"), str(photos / "exported"), "--to", "coco")
    assert stored(f"{base}/exported") == tree(photos / "exported")
    name = next(iter(stored(f"{base}/exported")))
    command("export", f"{base}/exported/{name}", f"{base}/back", "--from", "coco")
    assert len(list(Store(url=f"{base}/back").names())) >= 4
    with pytest.raises(ConfigError, match="give the folder to write"):
        command("export", f"{base}/masks", "--to", "coco")


def test_depth_in_a_store(base: str, photos: Path) -> None:
    depth = np.linspace(1, 2, 64 * 96, dtype=np.float32).reshape(64, 96)
    (photos / "depth/n0").mkdir(parents=True)
    np.savez(photos / "depth/n0/p0.npz", inverse=depth)
    upload(photos / "depth", Store(url=f"{base}/depth"))
    command("depth", "render", f"{base}/depth", f"{base}/drawn")
    assert "n0/p0.png" in set(Store(url=f"{base}/drawn").names())
    said = command("depth", "view", f"{base}/images/n0/p0.png", f"{base}/depth/n0/p0.npz",
                   f"{base}/view/scene.glb", "--no-html", "--scale", "1")  # fmt: skip
    assert f"{base}/view/scene.glb" in said
    assert Store(url=f"{base}/view").read("scene.glb").startswith(b"glTF")


def test_a_single_picture_in_a_store(base: str, photos: Path) -> None:
    files = [f"{base}/images/n0/p0.png", f"{base}/masks/n0/p0.png", f"{base}/one/p0.png"]
    command("refine", *files, *FAKE)
    command("refine", str(photos / "images/n0/p0.png"), str(photos / "masks/n0/p0.png"),
            str(photos / "one.png"), *FAKE)  # fmt: skip
    assert Store(url=f"{base}/one").read("p0.png") == (photos / "one.png").read_bytes()


def test_a_failure_in_a_store_is_told_by_its_url(base: str, photos: Path, staging: Path) -> None:
    Store(url=f"{base}/images").write("n0/p0.png", b"")
    places = [f"{base}/{part}" for part in ("images", "masks", "out")]
    said = command("refine", *places, *FAKE)
    assert f"{base}/images/n0/p0.png: file is empty" in said
    for name in ("manifest.jsonl", "summary.json"):
        assert str(staging).encode() not in Store(url=f"{base}/out").read(name)


def test_pictures_are_what_they_were(base: str, photos: Path) -> None:
    """A command that reads from a store changes nothing there."""
    before = stored(f"{base}/images")
    command("refine", f"{base}/images", f"{base}/masks", f"{base}/out", *FAKE)
    assert stored(f"{base}/images") == before

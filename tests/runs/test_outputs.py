"""Runs write where they may, and believe no manifest that somebody else wrote."""

import json
import os
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.io.listings.table import read_manifest
from uosam.io.pairs import find_pairs
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder

CONFIG = load_config(overrides=["backend.name=graphcut"])


@pytest.fixture
def photos(tmp_path):
    for name in ("a", "b"):
        for folder, mode in (("photos", "RGB"), ("masks", "L")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new(mode, (24, 16)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(folder, *rows):
    lines = ["image,mask,name", *(",".join(row) for row in rows)]
    (folder / "t.csv").write_text("\n".join(lines))
    return read_manifest(folder / "t.csv")


def overwriting():
    return load_config(overrides=["backend.name=graphcut", "engine.overwrite=true"])


def test_a_manifest_overwrites_no_photograph(photos):
    pairs = table(photos, ("photos/a.png", "masks/a.png", "a"))
    before = contents(photos / "photos")
    for out in (photos / "photos", photos / "photos" / ".." / "photos"):
        with pytest.raises(ConfigError, match=r"photos/a\.png would be overwritten"):
            refine_folder(pairs, out, overwriting())
    assert contents(photos / "photos") == before


def test_crossed_names_overwrite_no_mask(photos):
    rows = ("photos/a.png", "masks/a.png", "b"), ("photos/b.png", "masks/b.png", "a")
    before = contents(photos / "masks")
    with pytest.raises(ConfigError, match="would be overwritten"):
        refine_folder(table(photos, *rows), photos / "masks", overwriting())
    assert contents(photos / "masks") == before


@pytest.mark.parametrize("other", ["A", unicodedata.normalize("NFD", "\u00e4")])
def test_two_names_for_one_file_are_refused(photos, other):
    name = "a" if other == "A" else unicodedata.normalize("NFC", other)
    rows = ("photos/a.png", "masks/a.png", name), ("photos/b.png", "masks/b.png", other)
    with pytest.raises(InputError, match="would both be written"):
        refine_folder(table(photos, *rows), photos / "out", CONFIG)
    assert not (photos / "out").exists()


def test_a_linked_folder_in_the_output_leads_nowhere(photos):
    (photos / "out").mkdir()
    (photos / "elsewhere").mkdir()
    (photos / "out" / "n").symlink_to(photos / "elsewhere")
    pairs = table(photos, ("photos/a.png", "masks/a.png", "n/a"))
    with pytest.raises(InputError, match="outside of the output folder"):
        refine_folder(pairs, photos / "out", overwriting())
    assert not list((photos / "elsewhere").iterdir())


def test_overlays_overwrite_no_input(photos):
    os.rename(photos / "photos" / "a.png", photos / "photos" / "a.jpg")
    pairs = find_pairs(photos / "photos", photos / "masks")
    config = load_config(overrides=["backend.name=graphcut", f"engine.overlay={photos / 'photos'}"])
    with pytest.raises(ConfigError, match=r"a\.jpg would be overwritten"):
        refine_folder(pairs, photos / "out", config)


def test_labels_overwrite_no_picture(photos):
    pairs = find_pairs(photos / "photos", photos / "masks")
    samples = [replace(sample, coarse=None) for sample in pairs.samples]
    (photos / "weights").touch()
    options = CoarseOptions(
        model="tests.coarse_models:load", checkpoint=str(photos / "weights"), overwrite=True
    )
    with pytest.raises(ConfigError, match="would be overwritten"):
        label_folder(samples, photos / "photos", options)


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_planted_journal_is_not_followed(photos, how):
    victim = photos / "victim"
    victim.write_bytes(b"precious")
    (photos / "out").mkdir()
    plant = photos / "out" / PARTIAL
    plant.symlink_to(victim) if how == "symbolic" else plant.hardlink_to(victim)
    with pytest.raises(InputError, match="output folder cannot be written"):
        refine_folder(find_pairs(photos / "photos", photos / "masks"), photos / "out", CONFIG)
    assert victim.read_bytes() == b"precious"


FORGED = {
    "list": "[1, 2]",
    "number": "7",
    "nested": "[" * 100_000,
    "name": '{"name": ["a"], "output": "a.png"}',
    "output": '{"name": "a", "output": 3}',
    "nul": '{"name": "a", "output": "a\\u0000.png"}',
    "settings": '{"settings": 3}',
    "status": '{"name": "a", "output": "a.png", "status": ["x"]}',
    "huge": '{"name": "a", "accepted": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_lines_are_no_line(photos, forged, overwrite):
    pairs = find_pairs(photos / "photos", photos / "masks")
    out = photos / "out"
    refine_folder(pairs, out, CONFIG)
    good = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(good + forged + "\n")
    run = refine_folder(pairs, out, overwriting() if overwrite else CONFIG)
    assert not run.failures
    assert (out / MANIFEST).read_text() == good


@pytest.mark.parametrize(
    "change", [{"accepted": "many"}, {"accepted": -1}, {"rejected": 3}, {"rejected": {"x": "y"}}]
)
def test_rows_of_the_right_digests_and_wrong_figures_are_redone(photos, change):
    pairs = find_pairs(photos / "photos", photos / "masks")
    out = photos / "out"
    refine_folder(pairs, out, CONFIG)
    good = (out / MANIFEST).read_text()
    head, *rows = map(json.loads, good.splitlines())
    forged = [head, *({**row, **change} for row in rows)]
    (out / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in forged))
    run = refine_folder(pairs, out, CONFIG)
    assert run.skipped == 0
    assert (out / MANIFEST).read_text() == good


def test_a_small_memory_is_one_line():
    from uosam.text import explain

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")):
        assert explain(error).startswith("not enough memory; use fewer --workers")
    with pytest.raises(MemoryError) as caught:
        np.zeros(1 << 60, np.uint8)
    assert explain(caught.value).startswith("not enough memory")

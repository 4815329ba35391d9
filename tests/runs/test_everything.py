"""``uosam proposals``: records, map and picture of every photograph, and how a run behaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import Scene
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.regions.records import read_ssa
from uosam.runs.everything import EverythingTask, find_in_folder, load_everything
from uosam.stages.segments import Segment
from uosam.structures import Sample


@pytest.fixture
def photos(tmp_path: Path, scene: Scene) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(scene.image).save(folder / "a.png")
    Image.fromarray(scene.image[:, ::-1]).save(folder / "more" / "b.png")
    return folder


def run(*arguments: object) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(build_app(), ["proposals", *map(str, arguments)])
    return result.exit_code, result.output, result.exception


def test_records_map_and_picture(photos: Path, tmp_path: Path, scene: Scene) -> None:
    out = tmp_path / "out"
    code, text, _ = run(photos, out, "--level", "1,4", "--grid", 6)
    assert code == 0, text
    assert "with masks         2" in text
    for name, target in (("a", scene.target), ("more/b", scene.target[:, ::-1])):
        records, _ = read_ssa((out / f"{name}.json").read_bytes(), name)
        assert {record.level for record in records} == {1, 4}
        labels = read_labels(out / "labels" / f"{name}.png").labels
        assert set(np.unique(labels)) <= set(range(1, len(records) + 1))
        smallest = min(range(len(records)), key=lambda index: records[index].area)
        assert (labels[records[smallest].mask] == smallest + 1).all()
        for record in records:
            mask = record.mask
            assert mask.shape == target.shape
            assert record.area == mask.sum()
        best = max(
            (record.mask & (target == 2)).sum() / (record.mask | (target == 2)).sum()
            for record in records
        )
        assert best > 0.8
        with Image.open(out / "overlay" / f"{name}.jpg") as drawn:
            assert drawn.width > 3 * 96
    keys = json.loads((out / "a.json").read_text())["annotations"][0].keys()
    assert {"segmentation", "area", "bbox", "predicted_iou", "point_coords"} <= keys
    assert {"stability_score", "crop_box", "level"} <= keys


def test_a_picture_of_more_than_255_masks_has_a_map(photos: Path, tmp_path: Path) -> None:
    task = EverythingTask(folder=tmp_path / "out", config=load_everything(None, []))
    image = np.zeros((20, 20, 3), np.uint8)
    segments = [
        Segment(
            bits=np.packbits(np.arange(400) == index),
            hw=(20, 20),
            box=(index % 20, index // 20, index % 20, index // 20),
            score=1.0,
            stability=1.0,
            level=0,
            point=(0.0, 0.0),
            crop=(0, 0, 20, 20),
        )
        for index in range(400)
    ]
    sample = Sample(name="a", image=photos / "a.png", coarse=None)
    encoded = task.encode(sample, image, (segments, 0.0))
    path = next(path for path in encoded.extras if path.suffix == ".png")
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded.extras[path])
    assert np.unique(read_labels(path, "index16").labels).tolist() == list(range(1, 401))


def test_a_run_goes_on_where_it_stopped_and_mixes_no_settings(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(photos, out, "--grid", 4)[0] == 0
    (out / "labels" / "a.png").unlink()
    code, text, _ = run(photos, out, "--grid", 4)
    assert code == 0
    assert "by an earlier run" in text
    assert (out / "labels" / "a.png").is_file()
    code, _, error = run(photos, out, "--grid", 5)
    assert code
    assert isinstance(error, ConfigError)
    assert run(photos, out, "--grid", 5, "--overwrite")[0] == 0


def test_two_processes_find_the_same(photos: Path, tmp_path: Path) -> None:
    assert run(photos, tmp_path / "one", "--grid", 4)[0] == 0
    code, text, _ = run(photos, tmp_path / "two", "--grid", 4, "--workers", 2)
    assert code == 0, text
    for name in ("a.json", "more/b.json", "labels/a.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_pictures_without_masks_and_broken_ones_are_said(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"nothing")
    code, text, _ = run(photos, tmp_path / "out", "--grid", 2, "-s", "everything.min_score=1")
    assert code == 1
    assert "without any mask   2" in text
    assert "no mask reached everything.min_score=1" in text
    assert "failed: broken" in text
    assert not read_labels(tmp_path / "out" / "labels" / "a.png").labels.any()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompts.rows=1", "unknown config section of proposals 'prompts'"),
        ("engine.batch=2", "unknown key in config section engine 'batch'"),
        ("engine.workers=0", "workers must be at least 1"),
        ("everything.gird=3", "did you mean 'grid'"),
        ("backend.name=vit_b", "vit_b has no levels"),
    ],
)
def test_wrong_settings_are_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_everything(None, ["everything.levels=[2]", override])


def test_every_model_has_a_threshold_of_its_own() -> None:
    least = {
        name: load_everything(None, [f"backend.name={name}"]).everything.min_score
        for name in ("graphcut", "tiny", "vit_b", "semantic_sam_t")
    }
    assert least["vit_b"] == 0.88
    assert least["semantic_sam_t"] == pytest.approx(0.786, abs=1e-3)
    assert least["tiny"] < least["graphcut"] < 0.88
    assert load_everything(None, ["everything.min_score=0.1"]).everything.min_score == 0.1


def test_results_never_go_among_the_pictures(photos: Path) -> None:
    config = load_everything(None, [])
    with pytest.raises(ConfigError, match="must not be or lie in"):
        find_in_folder([], photos / "out", config, inputs=[photos])
    task = EverythingTask(folder=photos, config=config)
    with pytest.raises(InputError, match="must have a picture"):
        task.inputs(Sample(name="x"))


def test_granularity_is_a_level(photos: Path, tmp_path: Path) -> None:
    code, text, _ = run(photos, tmp_path / "out", "--grid", 3, "--granularity", 0.4)
    assert code == 0, text
    settings = (tmp_path / "out" / "config.yaml").read_text()
    assert "levels:\n  - 4" in settings

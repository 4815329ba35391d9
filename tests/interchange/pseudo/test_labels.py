"""Calibrated confidence, thresholds by class, the band, and what trainers read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from uosam.errors import ConfigError, InputError
from uosam.interchange.legend import Legend
from uosam.interchange.pseudo import layouts
from uosam.interchange.pseudo.calibration import (
    BANDS,
    KINDS,
    Calibration,
    Curve,
    bands_of,
    calibrate,
    distance_to_outline,
    packaged,
    read_calibration,
    write_calibration,
)
from uosam.interchange.pseudo.labels import PseudoOptions, Tally, band, make_pseudo
from uosam.interchange.pseudo.layouts import Example, encode_hf, encode_imagenet_s, encode_mmseg
from uosam.structures import IGNORE, LabelMap


def curve(*right: float) -> Curve:
    return Curve(raw=np.linspace(0, 1, len(right)).astype(np.float32), right=np.array(right))


def square() -> LabelMap:
    labels = np.zeros((60, 80), np.int32)
    labels[10:50, 20:60] = 7
    labels[0, 0] = IGNORE
    return labels


def test_curves_are_of_kind_and_distance() -> None:
    ids = square()
    curves = [[curve(b / 10, b / 10) for b in range(len(BANDS) + 1)] for _ in KINDS]
    curves[1] = [curve(0.0, 1.0)] * (len(BANDS) + 1)
    found = calibrate(
        np.full(ids.shape, 0.25, np.float32), ids, 0, Calibration(curves=curves, facts="")
    )
    objects = ids == 7
    np.testing.assert_allclose(found[objects], bands_of(ids)[objects] / 10, atol=1e-6)
    np.testing.assert_allclose(found[ids == 0], 0.25)
    assert found[0, 0] == 0
    without = calibrate(
        np.full(ids.shape, 0.25, np.float32), ids, None, Calibration(curves=curves, facts="")
    )
    np.testing.assert_allclose(without[ids == 0], bands_of(ids)[ids == 0] / 10, atol=1e-6)


def test_bands_are_distances_to_an_outline() -> None:
    ids = square()
    assert distance_to_outline(ids)[30, 40] == 19
    assert distance_to_outline(ids)[30, 20] == distance_to_outline(ids)[30, 19] == 0
    assert bands_of(ids)[30, 20] == 0
    assert bands_of(ids)[30, 21] == np.searchsorted(BANDS, 0.01)
    assert (bands_of(np.ones((5, 5), np.int32)) == len(BANDS)).all()


def test_the_packaged_curves_are_whole_and_rise() -> None:
    stored = packaged()
    assert len(stored.curves) == len(KINDS)
    assert "training pictures" in stored.facts
    for curves in stored.curves:
        assert len(curves) == len(BANDS) + 1
        for one in curves:
            assert (np.diff(one.raw) > 0).all()
            assert (np.diff(one.right) >= 0).all()
            assert one.right.min() >= 0
            assert one.right.max() <= 1
    # A pixel beside an outline is right less often than one far inside.
    sides = [np.interp(0.97, one.raw, one.right) for one in stored.curves[0]]
    assert sides[0] < sides[-1]
    again = read_calibration(write_calibration(stored))
    np.testing.assert_allclose(again.curves[1][2].right, stored.curves[1][2].right, atol=1e-4)


def test_rare_classes_keep_their_surest_pixels() -> None:
    ids = np.array([[1] * 90 + [2] * 10], np.int32)
    sure = np.concatenate([np.linspace(0.5, 1, 90), np.linspace(0.1, 0.5, 10)]).astype(np.float32)[
        None
    ]
    options = PseudoOptions(min_confidence=0.8, keep=0.3, width=0)
    tally = Tally()
    tally.add(ids, sure)
    found = make_pseudo(ids, sure, tally.thresholds(options), options, 0)
    assert np.count_nonzero(found.labels == 2) == 3
    assert np.count_nonzero(found.labels == 1) == np.count_nonzero(sure[ids == 1] >= 0.7995)
    assert set(np.unique(found.labels)) == {IGNORE, 1, 2}
    strict = PseudoOptions(min_confidence=0.8, keep=0, width=0)
    none = make_pseudo(ids, sure, tally.thresholds(strict), strict, 0)
    assert not (none.labels == 2).any()
    keeping = PseudoOptions(ignored="keep", width=3)
    kept = make_pseudo(ids, sure, tally.thresholds(keeping), keeping, 0)
    np.testing.assert_array_equal(kept.labels, ids)
    assert kept.kept < 1


def test_the_band_spares_thin_objects() -> None:
    ids = np.zeros((40, 40), np.int32)
    ids[:, 20:] = 1
    ids[5:8, 3:17] = 2
    out = band(ids, 3)
    assert out[30, 17:23].tolist() == [True] * 6
    assert not out[30, :17].any()
    assert np.count_nonzero(~out & (ids == 2)) == 12  # its middle line
    assert not band(np.ones((4, 4), np.int32), 3).any()


def test_weights_are_of_objects() -> None:
    ids = np.array([[0, 0, 1, 1]], np.int32)
    sure = np.array([[0.2, 0.2, 0.8, 1.0]], np.float32)
    options = PseudoOptions(width=0)
    assert make_pseudo(ids, sure, {}, options, 0).weight == pytest.approx(0.9)
    assert make_pseudo(ids * 0, sure, {}, options, 0).weight == pytest.approx(0.55)
    assert make_pseudo(ids * 0 - 1, sure, {}, options, 0).weight == 0
    assert make_pseudo(ids, sure, {}, options, None).weight == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("name", "value"),
    [("min_confidence", 1.5), ("keep", -0.1), ("width", -1), ("width", 5000), ("ignored", "drop")],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        PseudoOptions(**{name: value})  # type: ignore[arg-type]


LEGEND = Legend(ids=(7, 300), names={7: "cat"})


def example(name: str = "n01/a") -> Example:
    ids = square()
    ids[30:40, 30:40] = 300
    sure = np.full(ids.shape, 0.9, np.float32)
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (80, 60), "red").save(buffer, "JPEG")
    options = PseudoOptions(width=2)
    found = make_pseudo(ids, sure, {}, options, 0)
    return Example(name=name, file=f"{name}.JPEG", picture=buffer.getvalue(), pseudo=found)


def opened(data: bytes) -> np.ndarray:
    return np.array(PIL.Image.open(io.BytesIO(data)))


def test_mmseg_settings_are_python_that_fits_the_files() -> None:
    files = dict(encode_mmseg(iter([example()]), LEGEND))
    files = {path.as_posix(): data for path, data in files.items()}
    stored, labels = opened(files["ann_dir/train/n01/a.png"]), example().pseudo.labels
    assert files["img_dir/train/n01/a.JPEG"] == example().picture
    for number, label in ((0, 0), (1, 7), (2, 300), (255, IGNORE)):
        np.testing.assert_array_equal(stored == number, labels == label)
    assert (opened(files["conf_dir/train/n01/a.png"]) == 230).all()
    space: dict[str, dict[str, object]] = {}
    exec(files["dataset.py"].decode(), space)
    assert space["metainfo"]["classes"] == ("background", "cat", "300")
    assert space["train_dataloader"]["dataset"]["img_suffix"] == ".JPEG"  # type: ignore[index]
    with pytest.raises(InputError, match="255 classes at most"):
        list(encode_mmseg(iter([]), Legend(ids=tuple(range(1, 300)))))


def test_pass_reads_its_labels() -> None:
    files = dict(encode_imagenet_s(iter([example()]), LEGEND))
    (path, *_) = (path for path in files if path.parts[0] == "train")
    # As src/singlecropdataset.py finds them: the picture's name with JPEG replaced.
    assert path.as_posix() == "train/n01/a.JPEG".replace("JPEG", "png")
    rgb = opened(files[path]).astype(int)
    ids = rgb[..., 1] * 256 + rgb[..., 0]
    labels = example().pseudo.labels
    np.testing.assert_array_equal(ids, np.where(labels == IGNORE, 1000, labels))
    with pytest.raises(InputError, match="1000"):
        list(encode_imagenet_s(iter([]), Legend(ids=(1000,))))


def test_parquet_holds_pictures_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(layouts, "SHARD", 2)
    files = {
        path.as_posix(): data
        for path, data in encode_hf((example(n) for n in ("a", "b", "c")), LEGEND)
    }
    assert [p for p in files if p.endswith(".parquet")] == [
        "data/train-00000.parquet",
        "data/train-00001.parquet",
    ]
    table = pq.read_table(io.BytesIO(files["data/train-00000.parquet"]))
    row = table.to_pylist()[1]
    assert row["name"] == "b"
    assert row["weight"] == pytest.approx(0.9)
    assert opened(row["image"]["bytes"]).shape == (60, 80, 3)
    stored, labels = opened(row["label"]["bytes"]), example().pseudo.labels
    np.testing.assert_array_equal(stored == 255, labels == IGNORE)
    np.testing.assert_array_equal(stored == 2, labels == 300)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == features["label"] == {"_type": "Image"}
    assert json.loads(files["id2label.json"])["1"] == "cat"
    assert "255 where nothing" in " ".join(files["README.md"].decode().split())


def test_hugging_face_opens_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for path, data in encode_hf(iter([example()]), LEGEND):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    data = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert data[0]["image"].size == (80, 60)
    assert np.array(data[0]["label"]).max() == 255


def test_many_classes_take_16_bits() -> None:
    legend = Legend(ids=(7, *range(20, 400)))
    files = {path.as_posix(): data for path, data in encode_hf(iter([example()]), legend)}
    row = pq.read_table(io.BytesIO(files["data/train-00000.parquet"])).to_pylist()[0]
    assert opened(row["label"]["bytes"]).max() == 65535

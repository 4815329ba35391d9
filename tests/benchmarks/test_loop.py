"""The parts of the loop's benchmark that need no network."""

import json

import cv2
import numpy as np

from benchmarks.loop import SIDE, Source, done, prepare, refine_with, score


def test_pictures_are_taken_evenly_and_brought_to_their_size(tmp_path):
    folder = tmp_path / "train" / "toy"
    folder.mkdir(parents=True)
    for i in range(7):
        truth = np.full((100, 512), i, np.uint8)
        truth[:50] = 11
        cv2.imwrite(str(folder / f"{i}.0.png"), truth)
        cv2.imwrite(str(folder / f"{i}.jpg"), np.zeros((100, 512, 3), np.uint8))
    source = Source(folder="train/toy", amount=3, ignore=11, flat=True)
    assert prepare(tmp_path, source, tmp_path / "work") == 3  # 0, 3 and 6; 11 is left out
    names = sorted(path.name for path in (tmp_path / "work" / "gt").iterdir())
    assert names == ["0.png", "3.png", "6.png"]
    truth = cv2.imread(str(tmp_path / "work" / "gt" / "3.png"), cv2.IMREAD_UNCHANGED)
    assert truth.shape == (50, SIDE)
    assert np.unique(truth).tolist() == [3, 255]


def test_the_matching_is_that_of_the_clusters(tmp_path):
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    steps = {}
    for name, ids in (("k-means", (7, 4)), ("same", (7, 4)), ("swapped", (4, 7))):
        (tmp_path / name).mkdir()
        steps[name] = (tmp_path / name, 1.0)
        for i in range(12):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.choose(truth, ids).astype(np.uint8))
    (tmp_path / "gt").mkdir()
    for i in range(12):
        cv2.imwrite(str(tmp_path / "gt" / f"{i}.png"), truth)
    first, same, swapped = score(steps, tmp_path)
    assert first["mIoU"] == same["mIoU"] == swapped["own_mIoU"] == 1
    assert swapped["mIoU"] == 0
    assert "gains" not in first
    assert same["gains"]["mIoU"][0] == 0
    assert swapped["gains"]["boundary_mIoU"][0] == -1


def test_rivals_and_rows(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.eye(8, dtype=np.uint8))
    seconds = refine_with(
        lambda image, labels: 1 - labels, tmp_path / "images", tmp_path / "masks", tmp_path / "out"
    )
    assert seconds >= 0
    stored = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, 1 - np.eye(8))
    rows = tmp_path / "rows.jsonl"
    assert not done(rows, {"set": "a"})
    rows.write_text(json.dumps({"set": "a", "seed": 1, "step": "k-means"}) + "\n")
    assert done(rows, {"set": "a", "seed": 1})
    assert not done(rows, {"set": "a", "seed": 2})

"""More clusters than classes, and the scores of PiCIE's groups."""

import json

import numpy as np
import pytest
from PIL import Image

from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.report import to_plain
from uosam.evaluation.types import EvaluateOptions
from uosam.metrics.counts import Widths, collect, count_pairs, prepare_target
from uosam.metrics.protocols import find_protocol
from uosam.metrics.summary import class_labels, summarise


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(labels, np.uint8)).save(path)


@pytest.fixture
def clusters(tmp_path):
    """30 pure clusters of 6 classes, five in each."""
    y, x = np.mgrid[:64, :90]
    save(tmp_path / "gt/a.png", x // 30 + 3 * (y // 32))
    save(tmp_path / "pred/a.png", x // 6 + 15 * (y // 32))
    return tmp_path


def scores(folder, **options):
    found = evaluate([folder / "pred"], folder / "gt", EvaluateOptions(resamples=0, **options))
    return {name: 100 * value for name, value in found.methods[0].values.items()}


def test_the_vote_of_maskcontrast(clusters):
    found = scores(clusters, protocol="voc-maskcontrast")
    assert found["pixel_accuracy"] == 100
    assert found["mIoU"] == pytest.approx(600 / 21)


def test_the_vote_in_a_plain_folder(clusters):
    found = scores(clusters, matching="iou")
    assert found["pixel_accuracy"] == found["mIoU"] == 100


def test_left_over_clusters_are_no_classes(tmp_path):
    _, x = np.mgrid[:64, :90]
    truth = (x >= 45).astype(int)
    save(tmp_path / "gt/a.png", truth)
    save(tmp_path / "pred/a.png", np.where(truth == 1, 1, np.where(x < 25, 0, 2 + (x - 25) // 5)))
    for matching in ("pixels", "presence"):
        found = scores(tmp_path, matching=matching)
        assert found["mIoU"] == pytest.approx(100 * (25 / 45 + 1) / 2)


def test_a_given_matching_says_which_classes_there_are(tmp_path):
    save(tmp_path / "gt/a.png", [[0, 0, 1, 1]])
    save(tmp_path / "pred/a.png", [[0, 0, 7, 8]])
    found = scores(tmp_path, match={7: 1, 8: 2})
    assert found["mIoU"] == pytest.approx(100 * (1 + 0.5 + 0) / 3)


def test_groups_of_picie_know_no_confusion_across_groups():
    """20 pixels: 4 of a thing are taken for stuff, and all others are right."""
    target = np.array([[0] * 10 + [20] * 10], np.int32)
    pred = np.array([[0] * 8 + [20] * 12], np.int32)
    for name, expected in (
        ("coco-stuff-27-picie", (100, 100)),
        ("coco-stuff-27", (80, 1000 / 12)),
    ):
        protocol = find_protocol(name)
        table = collect([("a", count_pairs(pred, prepare_target(target, Widths(1))))])
        found = summarise(table, protocol, labels=class_labels(protocol, [table])).scores
        shown = [100 * found[f"{group}_mIoU"].value() for group in ("thing", "stuff")]
        assert shown == pytest.approx(expected)


def test_no_score_without_objects_is_left_unexplained(tmp_path):
    save(tmp_path / "gt/a.png", [[0, 0, 0, 0]])
    for name in ("one", "two"):
        save(tmp_path / name / "a.png", [[0, 0, 0, 0]])
    options = EvaluateOptions(resamples=20)
    found = evaluate([tmp_path / "one", tmp_path / "two"], tmp_path / "gt", options)
    text = to_plain(found)
    assert "nan" not in text
    assert "note: the ground truth holds no object, only background (id 0)" in text
    assert "- stands for" in text
    assert "object_IoU" in text


def test_json_has_no_nan(tmp_path):
    from uosam.evaluation.export import to_json

    save(tmp_path / "gt/a.png", [[0, 0]])
    save(tmp_path / "pred/a.png", [[0, 0]])
    found = evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(resamples=20))
    json.loads(to_json(found, None), parse_constant=lambda name: pytest.fail(name))

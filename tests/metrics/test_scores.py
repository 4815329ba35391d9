from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from tests import metric_oracles as oracle
from uosam.errors import InputError
from uosam.metrics.bootstrap import bootstrap, paired_bootstrap
from uosam.metrics.boundary import boundary_width
from uosam.metrics.clusters import Match
from uosam.metrics.counts import Widths, collect, count_pairs, prepare_target
from uosam.metrics.objects import object_scores, object_table
from uosam.metrics.protocols import PROTOCOLS, Protocol
from uosam.metrics.scores import mean_score
from uosam.metrics.summary import class_labels, summarise

LUSS_3 = Protocol(title="", classes=4, absent="zero", boundary_ratio=0.1, luss=True)


def table_of(maps, ratio, trimap=()):
    images = []
    for index, (pred, target) in enumerate(maps):
        widths = Widths(boundary_width(target.shape, ratio), trimap)
        images.append((f"{index:03}", count_pairs(pred, prepare_target(target, widths))))
    return collect(images)


def scores_of(maps, protocol, **options):
    table = table_of(maps, protocol.boundary_ratio, options.get("trimap", ()))
    summary = summarise(table, protocol, labels=class_labels(protocol, [table]), **options)
    return {key: score.value() for key, score in summary.scores.items()}, summary


@pytest.mark.parametrize("rule", ["current", "pre-2022"])
@pytest.mark.parametrize("labels", [(0, 1, 2, 3), (0, 1), (0,)])
def test_luss_equals_its_definition(rule, labels):
    rng = np.random.default_rng(1)
    for _ in range(6):
        maps = [
            (oracle.random_map(rng, labels=labels),
             oracle.random_map(rng, labels=(0, 1, 2), ignore=rng.choice([0.0, 0.3])))
            for _ in range(4)
        ]  # fmt: skip
        found, _ = scores_of(maps, LUSS_3, sizes=rule)
        expected = oracle.luss(maps, 4, ratio=0.1, rule=rule)
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key


def test_truth_against_itself_is_perfect():
    rng = np.random.default_rng(0)
    target = oracle.random_map(rng, labels=(0, 1, 2, 3), ignore=0.3)
    found, _ = scores_of([(np.where(target < 0, 0, target), target)], LUSS_3)
    assert found["mIoU"] == found["object_IoU"] == found["object_boundary_IoU"] == 1
    assert found["F_beta"] == pytest.approx(1)


def test_large_counts_do_not_overflow():
    ones = np.ones((1, 1), np.int32)
    big = np.ones((1, 6), np.int64) * 2**40
    pairs = count_pairs(ones, prepare_target(ones, Widths(1)))
    many = [(str(i), replace(pairs, counts=big)) for i in range(9)]
    table = collect(many)
    summary = summarise(table, PROTOCOLS["plain"], labels=np.array([1], np.int32))
    assert summary.classes.target_pixels.tolist() == [9 * 2**40]
    assert summary.scores["mIoU"].value() == 1


@pytest.mark.parametrize("background", [0, 5, None])
@pytest.mark.parametrize("ignore", [0.0, 0.3])
def test_objects_from_counts_equal_objects_from_pixels_and_their_definition(background, ignore):
    rng = np.random.default_rng(2)
    for _ in range(10):
        pred, target = oracle.random_map(rng), oracle.random_map(rng, ignore=ignore)
        scores = object_scores(pred, target, background=background, boundary_ratio=0.08)
        table = table_of([(pred, target)], 0.08)
        rows = object_table(
            table, table.pred.astype(np.int64), table.target.astype(np.int64), background
        )
        assert rows.label.tolist() == [s.label for s in scores]
        assert rows.area.tolist() == [s.area for s in scores]
        np.testing.assert_allclose(rows.iou, [s.iou for s in scores])
        np.testing.assert_allclose(rows.boundary_iou, [s.boundary_iou for s in scores])
        width = oracle.width_of(target.shape, 0.08)
        for score in scores:
            t = target == score.label
            p = (pred == score.label) & (target >= 0)
            bt, bp = oracle.boundary(t, width), oracle.boundary(p, width)
            assert score.iou == pytest.approx((t & p).sum() / (t | p).sum())
            assert score.boundary_iou == pytest.approx((bt & bp).sum() / (bt | bp).sum())


def test_pixel_matching_and_nan_mean_equal_a_confusion_matrix():
    rng = np.random.default_rng(4)
    maps = [(oracle.random_map(rng, labels=(0, 1, 2, 3)), oracle.random_map(rng, labels=(0, 2)))]
    protocol = Protocol(title="", classes=5, background=None, matching="pixels")
    found, summary = scores_of(maps, protocol)
    hist = np.zeros((5, 5), int)
    np.add.at(hist, (maps[0][0].ravel(), maps[0][1].ravel()), 1)
    order = [summary.match.classes[k] for k in range(5)]
    assert hist[range(5), order].sum() == max(
        hist[range(5), p].sum() for p in permutations(range(5))
    )
    moved = np.zeros_like(hist)
    moved[order] = hist
    with np.errstate(invalid="ignore"):
        ious = np.diag(moved) / (moved.sum(0) + moved.sum(1) - np.diag(moved))
    assert found["mIoU"] == pytest.approx(np.nanmean(ious))
    assert found["pixel_accuracy"] == pytest.approx(np.diag(moved).sum() / moved.sum())


def test_more_clusters_than_classes_vote_by_iou():
    pred = np.array([[0, 1, 2, 3]], np.int32)
    target = np.array([[0, 0, 1, 1]], np.int32)
    protocol = Protocol(title="", classes=2, matching="iou", absent="zero", out_of_range="error")
    found, summary = scores_of([(pred, target)], protocol)
    assert summary.match.classes == {0: 0, 1: 0, 2: 1, 3: 1}
    assert found["mIoU"] == 1


def test_presence_matching_counts_images_not_pixels():
    # Cluster 2 shares more pixels with class 1, but cluster 1 is in both images of class 1.
    maps = [
        (np.array([[1, 2, 2, 2]], np.int32), np.array([[1, 1, 1, 1]], np.int32)),
        (np.array([[1, 0, 0, 0]], np.int32), np.array([[1, 0, 0, 0]], np.int32)),
        (np.array([[2, 0, 0, 0]], np.int32), np.array([[2, 0, 0, 0]], np.int32)),
    ]
    protocol = Protocol(title="", classes=3, matching="presence", solver="munkres-3", absent="zero")
    _, summary = scores_of(maps, protocol)
    assert summary.match == Match(classes={0: 0, 1: 1, 2: 2}, ambiguous=())


def test_presence_anywhere_also_looks_at_ignored_pixels():
    maps = [
        (np.array([[1, 0, 2]], np.int32), np.array([[1, 0, -1]], np.int32)),
        (np.array([[0, 0, 2]], np.int32), np.array([[1, 0, -1]], np.int32)),
    ]
    settings = {"classes": 3, "solver": "munkres-3", "absent": "zero"}
    for matching, classes, accuracy in (
        ("presence", {0: 0, 1: 1, 2: 2}, 3 / 4),
        ("presence-anywhere", {0: 0, 1: 2, 2: 1}, 2 / 4),
    ):
        found, summary = scores_of(maps, Protocol(title="", matching=matching, **settings))
        assert summary.match.classes == classes
        assert found["pixel_accuracy"] == accuracy  # ignored pixels enter no score


def test_cluster_rows_stand_at_the_cluster():
    pred = np.array([[1, 1, 0, 0]], np.int32)
    target = np.array([[0, 0, 1, 0]], np.int32)
    settings = {"classes": 2, "background": None, "matching": "pixels", "groups": {"first": (0, 1)}}
    by_class, one = scores_of([(pred, target)], Protocol(title="", **settings))
    by_cluster, two = scores_of([(pred, target)], Protocol(title="", cluster_rows=True, **settings))
    assert by_class["mIoU"] == by_cluster["mIoU"]
    assert one.classes.iou.tolist() == two.classes.iou[::-1].tolist()
    assert by_class["first_mIoU"] == pytest.approx(2 / 3)
    assert by_cluster["first_mIoU"] == 1  # of the sub-matrix of cluster 0 and its class


def test_trimap_scores_only_the_band():
    target = np.zeros((1, 12), np.int32)
    target[:, 6:] = 1
    pred = target.copy()
    pred[:, 7] = 0  # wrong, one pixel off the contour
    pred[:, 11] = 0  # wrong, far from it
    found, _ = scores_of([(pred, target)], PROTOCOLS["plain"], trimap=(1, 2, 9))
    assert found["trimap_1_mIoU"] == 1
    assert found["trimap_2_mIoU"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["trimap_9_mIoU"] == pytest.approx(found["mIoU"])


def test_undefined_is_nan():
    found, _ = scores_of([(np.zeros((2, 2), np.int32), np.full((2, 2), -1, np.int32))], LUSS_3)
    assert math.isnan(found["object_IoU"])
    assert math.isnan(found["pixel_accuracy"])
    assert math.isnan(found["S"])
    assert found["mIoU"] == 0  # LUSS counts absent classes as 0


def test_bootstrap_covers_the_mean_and_pairs_images():
    rng = np.random.default_rng(0)
    values, shift = rng.random(200), 0.01
    image = np.arange(200)
    first = mean_score(values, image, 200)
    second = mean_score(values + shift, image, 200)
    interval = bootstrap(first, resamples=500)
    error = values.std() / np.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    difference = paired_bootstrap(first, second, resamples=500)
    assert difference.low == pytest.approx(shift)  # the same images on both sides: no noise at all
    assert difference.high == pytest.approx(shift)
    assert paired_bootstrap(first, second, resamples=0).value == pytest.approx(shift)
    with pytest.raises(InputError, match="same images, got 200 and 100"):
        paired_bootstrap(first, mean_score(values[:100], image[:100], 100))


def test_classes_missing_from_a_resample_do_not_move_an_interval():
    rng = np.random.default_rng(0)
    maps = []
    for label in range(1, 30):  # every class in one image only
        target = np.full((6, 6), label, np.int32)
        maps.append((np.where(rng.random((6, 6)) < 0.5, label, 0).astype(np.int32), target))
    found, summary = scores_of(maps, Protocol(title="", classes=30, absent="zero"))
    interval = bootstrap(summary.scores["mIoU"], resamples=200)
    assert interval.low < found["mIoU"] < interval.high

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from tests import metric_oracles as oracle
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.export import (
    image_frame,
    score_frame,
    to_json,
)
from uosam.evaluation.report import comparison_table, to_markdown
from uosam.evaluation.types import EvaluateOptions

GOLDEN_NAMES = {
    "mIoU": "mIoU",
    "mBIoU": "boundary_mIoU",
    "Acc": "image_accuracy",
    "FMeasure": "F_beta",
    **{key: key for key in ("S", "MS", "ML", "L", "BS", "BMS", "BML", "BL")},
}


@pytest.fixture(autouse=True)
def _few_images_will_do(monkeypatch):
    """Sets of a handful of images, for speed, have intervals here."""
    for module in ("metrics.bootstrap", "evaluation.conclude"):
        monkeypatch.setattr(f"uosam.{module}.MIN_IMAGES", 2)


def write(path, labels, *, luss=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if luss:
        ids = np.where(labels < 0, 1000, labels)
        labels = np.stack([np.zeros_like(ids), ids // 256, ids % 256], axis=-1)
    else:
        labels = np.where(labels < 0, 255, labels)
    assert cv2.imwrite(str(path), labels.astype(np.uint8))


@pytest.fixture
def folders(tmp_path):
    """Two methods and the truth of five images; b is better than a."""
    rng = np.random.default_rng(0)
    for index in range(5):
        target = oracle.random_map(rng, (40, 50), labels=(0, 1, 2), ignore=0.2, cell=15)
        name = f"n{index % 2}/{index}.png"
        write(tmp_path / "gt" / name, target)
        write(tmp_path / "b" / name, np.roll(target.clip(0), 1, axis=1))
        write(tmp_path / "a" / name, np.roll(target.clip(0), 3, axis=1))
    return tmp_path


def golden_pairs(shared):
    folder = shared / "golden" / "luss"
    return folder, json.loads((folder / "expected.json").read_text())


def assert_golden(method, expected):
    for key, ours in GOLDEN_NAMES.items():
        value = 100 * method.summary.scores[ours].value()
        assert value == pytest.approx(expected[key], abs=1e-5, nan_ok=True), key
    np.testing.assert_allclose(100 * method.summary.classes.iou, expected["IoUs"], atol=1e-5)


def test_golden_unmatched(shared):
    folder, expected = golden_pairs(shared)
    options = EvaluateOptions(protocol="luss-50", matching="none", resamples=0)
    result = evaluate([folder / "pred"], folder / "gt", options)
    assert_golden(result.methods[0], expected["imagenet_s_toolbox"]["unmatched"])


def test_golden_matched_and_the_match_itself(shared):
    folder, expected = golden_pairs(shared)
    options = EvaluateOptions(protocol="luss-50", resamples=0)
    method = evaluate([folder / "pred"], folder / "gt", options).methods[0]
    assert_golden(method, expected["imagenet_s_toolbox"]["matched"])
    assert_golden(method, expected["pass_evaluator"]["threshold_0"])
    match = {int(k): v for k, v in expected["imagenet_s_toolbox"]["match"].items()}
    assert method.summary.match.classes == match
    given = EvaluateOptions(protocol="luss-50", match=match, resamples=0)
    again = evaluate([folder / "pred"], folder / "gt", given).methods[0]
    assert_golden(again, expected["imagenet_s_toolbox"]["matched"])


def test_golden_sweep(shared):
    folder, expected = golden_pairs(shared)
    cuts = tuple(k / 100 for k in range(20, 61))
    options = EvaluateOptions(protocol="luss-50", thresholds=cuts, resamples=0)
    result = evaluate([folder / "pred"], folder / "gt", options)
    assert result.methods[0].threshold == expected["pass_evaluator"]["sweep_20_60"]["th"]
    assert_golden(result.methods[0], expected["pass_evaluator"]["sweep_20_60"])
    assert list(result.methods[0].sweep) == list(cuts)
    assert any("chosen on the scored images" in note for note in result.notes)


def test_neither_order_nor_workers_change_a_byte(folders):
    one = evaluate([folders / "a", folders / "b"], folders / "gt", EvaluateOptions(resamples=50))
    two = evaluate(
        [folders / "a", folders / "b"], folders / "gt", EvaluateOptions(resamples=50, workers=2)
    )
    texts = [json.loads(to_json(result)) for result in (one, two)]
    assert texts[0].pop("options")["workers"] != texts[1].pop("options")["workers"]
    assert texts[0] == texts[1]
    assert image_frame(one).equals(image_frame(two))


def test_comparison_tells_a_difference_from_noise(folders):
    result = evaluate([folders / "a", folders / "b"], folders / "gt", EvaluateOptions())
    (entry,) = result.comparisons
    assert entry.name == "b"
    assert entry.differences["object_IoU"].low > 0
    assert entry.images_worse == entry.objects_worse == entry.objects_worse_1 == 0
    back = evaluate([folders / "b", folders / "a"], folders / "gt", EvaluateOptions())
    assert back.comparisons[0].images_worse == 1
    same = evaluate([folders / "a", folders / "a"], folders / "gt", EvaluateOptions())
    assert same.comparisons[0].objects_worse == 0
    assert "object IoU | +0.00 |" in to_markdown(same)
    assert "may be noise" not in to_markdown(result)


def test_a_difference_that_changes_sign_with_the_images_is_marked(folders):
    for name in ("n0/0.png", "n0/2.png", "n1/1.png"):
        shutil.copy(folders / "b" / name, folders / "gt" / ".." / "keep.png")
        shutil.copy(folders / "a" / name, folders / "b" / name)
        shutil.copy(folders / "keep.png", folders / "a" / name)
    result = evaluate([folders / "a", folders / "b"], folders / "gt", EvaluateOptions())
    row = next(r for r in comparison_table(result)[1] if r[0] == "object IoU")
    assert "(may be noise)" in row[1]


def test_single_files_and_flat_predictions(folders, tmp_path):
    gt = folders / "gt" / "n0" / "0.png"
    one = evaluate([folders / "b" / "n0" / "0.png"], gt, EvaluateOptions(resamples=0))
    assert one.images == ("0",)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (folders / "b").rglob("*.png"):
        shutil.copy(path, flat)
    nested = evaluate([folders / "b"], folders / "gt", EvaluateOptions(resamples=0))
    result = evaluate([flat], folders / "gt", EvaluateOptions(resamples=0))
    assert score_frame(result)["value"].tolist() == score_frame(nested)["value"].tolist()


def test_every_fault_is_named_before_anything_is_scored(folders):
    (folders / "a" / "n0" / "0.png").unlink()
    write(folders / "a" / "n0" / "extra.png", np.zeros((4, 4)))
    write(folders / "a" / "n0" / "2.png", np.zeros((7, 9)))
    (folders / "a" / "n1" / "1.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        evaluate([folders / "a"], folders / "gt", EvaluateOptions())
    text = str(caught.value)
    assert text.startswith("4 fault(s), nothing was scored:\n")
    assert "n0/0.png: no prediction in" in text
    assert "n0/extra.png: no ground truth in" in text
    assert "n0/2.png: the prediction must have the size of its ground truth 40 x 50" in text
    assert "got 7 x 9 (H x W)" in text
    assert "n1/1.png: file is empty" in text
    assert len(text.splitlines()) == 5


def test_luss_files_must_be_luss(tmp_path):
    zero = np.zeros((5, 6), int)
    write(tmp_path / "gt" / "a.png", zero)
    write(tmp_path / "pred" / "a.png", zero, luss=True)
    with pytest.raises(InputError, match=r"gt/a.png: LUSS masks must be RGB PNG"):
        evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(protocol="luss-50"))


@pytest.mark.parametrize("strange", [51, 919, 1000])
def test_predicted_ids_out_of_range_are_refused_1000_included(tmp_path, strange):
    zero = np.zeros((5, 6), int)
    write(tmp_path / "gt" / "a.png", np.where(np.eye(5, 6) > 0, -1, zero), luss=True)
    write(tmp_path / "pred" / "a.png", zero + strange, luss=True)
    text = f"pred/a.png: predicted ids must be 0 to 50, got {strange}"
    with pytest.raises(InputError, match=text):
        evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(protocol="luss-50"))


def test_target_ids_out_of_range_are_refused(tmp_path):
    write(tmp_path / "gt" / "a.png", np.full((5, 6), 60), luss=True)
    write(tmp_path / "pred" / "a.png", np.zeros((5, 6), int), luss=True)
    with pytest.raises(InputError, match="ground-truth ids must be 0 to 50, got 60"):
        evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(protocol="luss-50"))


def test_empty_folders_are_a_fault(tmp_path):
    for name in ("gt", "pred"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="gt: expected label maps, found none"):
        evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions())


def test_a_given_match_must_fit(folders):
    with pytest.raises(InputError, match=r"lacks \[1\]"):
        evaluate([folders / "a"], folders / "gt", EvaluateOptions(match={2: 2}))
    with pytest.raises(InputError, match=r"one-to-one: \[1, 2\] all become 1"):
        evaluate([folders / "a"], folders / "gt", EvaluateOptions(match={1: 1, 2: 1}))


def test_thresholds_need_scores_of_the_mask(folders):
    options = EvaluateOptions(thresholds=(0.5,))
    with pytest.raises(InputError, match="a threshold needs the foreground scores"):
        evaluate([folders / "a"], folders / "gt", options)
    for path in (folders / "a").rglob("*.png"):
        np.save(path.with_suffix(".npy"), np.ones((2, 2)))
    with pytest.raises(InputError, match=r"float of the mask's size \(40, 50\), got \(2, 2\)"):
        evaluate([folders / "a"], folders / "gt", options)


def test_a_threshold_cuts_before_matching(folders):
    for path in (folders / "a").rglob("*.png"):
        np.save(path.with_suffix(".npy"), np.zeros((40, 50), np.float32))
    result = evaluate([folders / "a"], folders / "gt", EvaluateOptions(thresholds=(0.5,)))
    assert result.methods[0].summary.scores["F_beta"].value() == 0
    assert result.methods[0].threshold == 0.5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"thresholds": (20.0,)}, r"fractions in \[0, 1\], got 20.0"),
        ({"trimap": (0,)}, "1 pixel or more, got 0"),
        ({"workers": 0}, "^workers must be 1 or more, got 0$"),
        ({"resamples": -1}, "^resamples must be 0 or more, got -1$"),
        ({"level": 1.0}, r"^level must be between 0 and 1, got 1\.0$"),
        ({"matching": "pixel"}, "unknown matching 'pixel'; did you mean 'pixels'"),
        ({"background": "nothing"}, "background must be an id or 'none', got 'nothing'"),
    ],
)
def test_options_out_of_range(options, text):
    with pytest.raises(ConfigError, match=text):
        EvaluateOptions(**options)


def test_a_file_and_a_folder_are_no_pair(folders):
    file = next((folders / "a").rglob("*.png"))
    truth = folders / "gt" / file.relative_to(folders / "a")
    for pred, target, folder, single in (
        (file, folders / "gt", folders / "gt", file),
        (folders / "a", truth, folders / "a", truth),
    ):
        with pytest.raises(InputError, match="two files that make a pair, got the file") as caught:
            evaluate([pred], target, EvaluateOptions())
        assert f"the file {single} and the folder {folder};" in str(caught.value)
    assert [job.target for job in evaluate([file], truth, EvaluateOptions()).jobs] == [truth]


def test_unknown_protocol(folders):
    with pytest.raises(ConfigError, match="unknown protocol 'luss50'; did you mean 'luss-50'"):
        evaluate([folders / "a"], folders / "gt", EvaluateOptions(protocol="luss50"))


def test_images_apart_from_the_published_split_are_noted(folders):
    result = evaluate([folders / "a"], folders / "gt", EvaluateOptions(protocol="voc-standard"))
    assert "5 images; the published splits have 1449" in result.notes

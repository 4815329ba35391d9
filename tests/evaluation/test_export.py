"""What an evaluation leaves behind: tables, JSON, notes and galleries."""

from __future__ import annotations

import dataclasses
import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest

from tests import metric_oracles as oracle
from tests.evaluation.test_evaluate import folders, write  # noqa: F401
from uosam.datasets.class_names import ClassName, read_class_names
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate, method_names, read_match
from uosam.evaluation.export import (
    Outputs,
    class_frame,
    image_frame,
    object_frame,
    to_json,
    write_outputs,
)
from uosam.evaluation.gallery import write_gallery, write_page
from uosam.evaluation.report import to_plain, to_rich
from uosam.evaluation.types import EvaluateOptions
from uosam.metrics.protocols import find_protocol


@pytest.fixture(autouse=True)
def _few_images_will_do(monkeypatch):
    """Sets of a handful of images, for speed, have intervals here."""
    for module in ("metrics.bootstrap", "evaluation.conclude"):
        monkeypatch.setattr(f"uosam.{module}.MIN_IMAGES", 2)


def test_exports(folders, tmp_path):  # noqa: F811
    options = EvaluateOptions(trimap=(2,), resamples=20)
    result = evaluate([folders / "a", folders / "b"], folders / "gt", options)
    names = tmp_path / "names.txt"
    names.write_text("n01 cat\nn02 dog\n")
    outputs = Outputs(
        json=tmp_path / "o.json",
        csv=tmp_path / "o.csv",
        per_image=tmp_path / "i.parquet",
        per_class=tmp_path / "c.parquet",
        per_object=tmp_path / "o.parquet",
        names=read_class_names(names, result.protocol),
    )
    write_outputs(result, outputs)
    document = json.loads(outputs.json.read_text())
    assert document["schema"] == "uosam.evaluation/1"
    assert [m["name"] for m in document["methods"]] == ["a", "b"]
    assert document["methods"][0]["classes"][1]["name"] == "n01 cat"
    value = document["methods"][1]["scores"]["object_IoU"]
    scores = pd.read_csv(outputs.csv).set_index(["method", "score"])["value"]
    assert scores["b", "object_IoU"] == pytest.approx(value)
    images = pd.read_parquet(outputs.per_image)
    assert len(images) == 10
    objects = pd.read_parquet(outputs.per_object)
    assert objects[objects["method"] == "b"]["IoU"].mean() == pytest.approx(value)
    assert len(object_frame(result)) == len(objects)
    assert pd.read_parquet(outputs.per_class)["name"].tolist()[:3] == [
        "background",
        "n01 cat",
        "n02 dog",
    ]
    assert class_frame(result)["target_pixels"].sum() > 0
    assert len(to_rich(result)) == 2
    assert "trimap_2_mIoU" in to_plain(result)


def test_a_score_of_one_image_is_the_score_of_that_image_alone(folders):  # noqa: F811
    whole = image_frame(evaluate([folders / "a"], folders / "gt", EvaluateOptions(resamples=0)))
    one = evaluate(
        [folders / "a" / "n0" / "0.png"], folders / "gt" / "n0" / "0.png", EvaluateOptions()
    )
    row = whole[whole["image"] == "n0/0"].iloc[0]
    for key, score in one.methods[0].summary.scores.items():
        assert row[key] == pytest.approx(100 * score.value()), key


def test_tables_have_known_suffixes(tmp_path):
    with pytest.raises(ConfigError, match=r"written as \.parquet, \.csv or \.md, got '\.txt'"):
        Outputs(per_image=tmp_path / "a.txt")


def test_what_cannot_be_written_is_named(folders, tmp_path):  # noqa: F811
    result = evaluate([folders / "a"], folders / "gt", EvaluateOptions(resamples=0))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*: cannot be written \((File ex|Not a dir)"):
        write_outputs(result, Outputs(json=tmp_path / "file" / "o.json"))


def test_rows_name_their_own_image_whatever_the_folders_are_called(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("a", "a-b", "a b", "b"):
        target = oracle.random_map(rng, labels=(0, 1))
        write(tmp_path / "gt" / folder / "x.png", target)
        write(tmp_path / "pred" / folder / "x.png", target if folder == "a-b" else 1 - target)
    result = evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(resamples=0))
    rows = image_frame(result).set_index("image")["mIoU"]
    assert rows["a-b/x"] == 100
    assert (rows.drop("a-b/x") == 0).all()
    assert object_frame(result).set_index("image")["IoU"]["a-b/x"] == 100


def test_bad_side_files(tmp_path):
    bad = tmp_path / "match.json"
    for text in ("[1]", "{", '{"methods": [1, 2]}', '{"a": 1}', '{"1": null}'):
        bad.write_text(text)
        with pytest.raises(InputError, match="a matching must be a JSON object"):
            read_match(bad)
    bad.write_bytes(b"\xff\xfe\xfa")


def test_a_matching_can_come_from_an_evaluation(folders, tmp_path):  # noqa: F811
    options = EvaluateOptions(matching="pixels", resamples=0)
    result = evaluate([folders / "a"], folders / "gt", options)
    (tmp_path / "o.json").write_text(to_json(result))
    assert read_match(tmp_path / "o.json") == dict(result.methods[0].summary.match.classes)


def test_methods_are_named_where_paths_differ(tmp_path):
    assert method_names([tmp_path / "a" / "out", tmp_path / "b" / "out"]) == ["a", "b"]
    assert method_names([tmp_path, tmp_path]) == [f"{tmp_path.name} 1", f"{tmp_path.name} 2"]


def test_truth_in_the_same_folder_is_perfect(folders):  # noqa: F811
    result = evaluate([folders / "gt"], folders / "gt", EvaluateOptions(resamples=0))
    assert result.methods[0].summary.scores["mIoU"].value() == 1


def test_gallery(folders, tmp_path):  # noqa: F811
    for path in (folders / "gt").rglob("*.png"):
        photograph = folders / "photographs" / path.relative_to(folders / "gt").with_suffix(".jpg")
        photograph.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(photograph), np.full((40, 50, 3), 90, np.uint8))
    both = [folders / "a", folders / "b"]
    result = evaluate(both, folders / "gt", EvaluateOptions(resamples=0))
    assert write_gallery(result, tmp_path / "g", folders / "photographs") == 5
    page = (tmp_path / "g" / "index.md").read_text()
    assert page.count("![") == 5
    assert "## b: worst" in page
    picture = cv2.imread(str(tmp_path / "g" / "b_best_1.jpg"))
    assert picture.shape == (40 + 22, 3 * 50 + 2 * 6, 3)  # a, b and the truth
    one = evaluate(both[:1], folders / "gt", EvaluateOptions(resamples=0))
    write_outputs(one, Outputs(gallery=tmp_path / "h"))
    assert cv2.imread(str(tmp_path / "h" / "a_worst_1.jpg")).shape[1] == 2 * 50 + 6
    cv2.imwrite(str(folders / "photographs" / "n0" / "0.jpg"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"expected the size \(40, 50\) of .*, got \(9, 9\)"):
        write_gallery(result, tmp_path / "g", folders / "photographs")
    (folders / "photographs" / "n0" / "0.jpg").unlink()
    with pytest.raises(InputError, match="expected a photograph for each ground truth, none for"):
        write_gallery(result, tmp_path / "g", folders / "photographs")


def test_one_page_of_all_images(folders, tmp_path):  # noqa: F811
    both = [folders / "a", folders / "b"]
    result = evaluate(both, folders / "gt", EvaluateOptions(resamples=0))
    names = {1: ClassName(name="<i>")}
    write_outputs(result, Outputs(html=tmp_path / "page.html", names=names))
    text = (tmp_path / "page.html").read_text()
    head = json.loads(re.search('id="head">(.*?)</script>', text)[1])
    assert head["layers"] == ["a", "b", "ground truth"]
    assert head["sort"][0] == "b - a"
    assert len(head["index"]) == len(result.jobs)
    means = [[i["facts"][f"IoU of {name}"] for i in head["index"]] for name in "ab"]
    for entry, first, second in zip(head["index"], *means, strict=True):
        if entry["facts"]["b - a"] is not None:
            assert entry["facts"]["b - a"] == pytest.approx(second - first)
    assert "&lt;i&gt;" in text
    with pytest.raises(InputError, match="give folders, not arrays"):
        write_page(dataclasses.replace(result, jobs=()), tmp_path / "x.html")
    again = evaluate(both[:1], folders / "gt", EvaluateOptions(resamples=0))
    write_page(again, tmp_path / "one.html")
    assert "ground truth" in (tmp_path / "one.html").read_text()


def test_the_gallery_shows_no_image_that_did_not_change(folders, tmp_path):  # noqa: F811
    again = evaluate([folders / "a"] * 2, folders / "gt", EvaluateOptions(resamples=0))
    assert write_gallery(again, tmp_path / "g") == 0


def test_scores_beside_a_missing_luss_mask_are_no_mask(tmp_path):
    write(tmp_path / "gt" / "a.png", np.ones((4, 5), np.int32), luss=True)
    (tmp_path / "pred").mkdir()
    np.save(tmp_path / "pred" / "a.npy", np.ones((4, 5), np.float16))
    with pytest.raises(InputError, match=r"pred/a\.npy: expected the mask a\.png, found only"):
        evaluate([tmp_path / "pred"], tmp_path / "gt", EvaluateOptions(protocol="luss-50"))


def test_nothing_scored_is_noted(folders):  # noqa: F811
    options = EvaluateOptions(protocol="cityscapes-27", resamples=0)
    result = evaluate([folders / "a"], folders / "gt", options)
    assert any("a: no pixel was scored" in note for note in result.notes)
    plain = evaluate([folders / "a"], folders / "gt", EvaluateOptions(resamples=0))
    assert not plain.notes


@pytest.mark.parametrize("name", ["voc-cause", "coco-stuff-27", "cityscapes-27"])
def test_the_mean_precision_of_cause(tmp_path, name):
    protocol = find_protocol(name)
    rng = np.random.default_rng(3)
    pred = rng.integers(0, 4, (320, 320))
    truth = np.where(rng.random(pred.shape) < 0.7, pred, rng.integers(0, 6, pred.shape))
    write(tmp_path / "pred" / "a.png", pred)
    # Fine ids that are classes 0 to 5 of COCO-Stuff, and label ids of Cityscapes.
    stored = {"coco-fine": np.array([71, 77, 51, 61, 83, 43]), "cityscapes": np.arange(7, 13)}
    write(tmp_path / "gt" / "a.png", stored.get(protocol.stored, np.arange(6))[truth])
    options = EvaluateOptions(protocol=name, resamples=0)
    (method,) = evaluate([tmp_path / "pred"], tmp_path / "gt", options).methods
    expected = np.mean([(truth[pred == label] == label).mean() for label in range(4)])
    assert method.summary.scores["mean_precision"].value() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["boundary_ratio", "boundary_f"])
def test_ratios_are_positive(name):
    with pytest.raises(ConfigError, match=f"{name} must be above 0, got 0"):
        EvaluateOptions(**{name: 0})

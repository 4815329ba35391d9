"""``uosam data link``: a split as two folders that the other commands read."""

import os

import pytest
from typer.testing import CliRunner

from tests import data_trees as trees
from uosam.cli import build_app
from uosam.datasets.link import link_data
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.pairs import find_pairs


@pytest.mark.parametrize(
    ("build", "count", "protocol"),
    [
        (trees.imagenet_s, 100, "luss-50"),
        (trees.voc, 2, "voc-standard"),
        (trees.voc_repackaged, 1, "voc-standard"),
        (trees.coco_stuff, 4, "coco-stuff-27"),
        (trees.cityscapes, 4, "cityscapes-27"),
        (trees.directory, 2, "plain"),
    ],
)
def test_what_is_linked_is_paired_and_scored(tmp_path, build, count, protocol):
    linked = link_data(build(tmp_path / "root"), tmp_path / "out")
    assert linked.count == count
    pairs = find_pairs(linked.images, linked.targets)
    assert len(pairs.samples) == count
    assert pairs.unpaired_images == pairs.unpaired_masks == []
    if protocol in ("plain", "voc-standard", "luss-50"):
        options = EvaluateOptions(protocol=protocol, resamples=0)
        evaluation = evaluate([linked.targets], linked.targets, options)
        assert evaluation.methods[0].summary.scores["pixel_accuracy"].value() == 1
        assert len(evaluation.jobs) == count


def test_cityscapes_is_scored_without_its_endings(tmp_path):
    linked = link_data(trees.cityscapes(tmp_path / "root"), tmp_path / "out")
    for path in sorted(linked.targets.rglob("*.png")):
        trees.mask(tmp_path / "pred" / path.relative_to(linked.targets), (0, 26))
    options = EvaluateOptions(protocol="cityscapes-27", resamples=0)
    evaluation = evaluate([tmp_path / "pred"], linked.targets, options)
    assert evaluation.methods[0].summary.scores["pixel_accuracy"].value() == 1


def test_only_the_curated_pictures(tmp_path):
    root = trees.coco_stuff(tmp_path / "root")
    trees.curate(root)
    linked = link_data(root, tmp_path / "out")
    names = sorted(path.name for path in linked.images.iterdir())
    assert names == ["000000000001.jpg", "000000000003.jpg"]
    assert (linked.images / names[0]).resolve() == root / "images/val2017" / names[0]


def test_a_split_without_ground_truth(tmp_path):
    linked = link_data(trees.imagenet_s(tmp_path / "root"), tmp_path / "out", split="test")
    assert (linked.count, linked.targets) == (100, None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["images"]


def test_refusals(tmp_path, monkeypatch):
    root = trees.directory(tmp_path / "root", images=("a", "b"), labels=("a",))
    with pytest.raises(InputError, match="got 1 lack a partner, such as b; 'uosam data check"):
        link_data(root, tmp_path / "out")
    for folder in ("imgs/val", "labels/val"):
        (tmp_path / "none" / folder).mkdir(parents=True)
    with pytest.raises(InputError, match="must have pictures, each with its ground truth, got non"):
        link_data(tmp_path / "none", tmp_path / "out")
    trees.mask(root / "labels/val/b.png")
    with pytest.raises(ConfigError, match="root is not empty; give a new folder for the links"):
        link_data(root, root)

    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(
        InputError, match=r"cannot be made \(Operation not permitted\); give a fold"
    ):
        link_data(root, tmp_path / "out")


def test_command(tmp_path):
    root = trees.imagenet_s(tmp_path / "root")
    arguments = ["data", "link", str(root), str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert f"100 pictures of imagenet-s-50 validation in {tmp_path}/out/images" in result.output
    assert f"ground truth in {tmp_path}/out/gt" in result.output

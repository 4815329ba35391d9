"""Listing the public data sets, in every layout, on small fabricated trees."""

import pytest

from tests import data_trees as trees
from uosam.datasets.facts import FACTS
from uosam.datasets.layouts import DATASETS, list_samples, recognise
from uosam.errors import ConfigError, InputError
from uosam.lookup import lookup

LAYOUTS = {
    "imagenet-s-50": trees.imagenet_s,
    "voc": trees.voc,
    "coco-stuff-27": trees.coco_stuff,
    "cityscapes": trees.cityscapes,
    "directory": trees.directory,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_recognised_from_the_root_folder(tmp_path, name):
    assert recognise(LAYOUTS[name](tmp_path)) == name


@pytest.mark.parametrize(
    ("name", "inner", "build"),
    [
        ("voc", "VOCdevkit/VOC2012", trees.voc),
        ("voc", "VOCdevkit", trees.voc),
        ("voc", "", trees.voc_repackaged),
        ("voc", "VOCSegmentation", trees.voc_repackaged),
    ],
)
def test_any_folder_on_the_way_serves_as_root(tmp_path, name, inner, build):
    root = build(tmp_path) / inner
    assert recognise(root) == name
    samples = list_samples(name, root, "val")
    assert "2007_000033" in [sample.name for sample in samples]
    assert all(sample.image and sample.target for sample in samples)


def test_the_folder_below_is_found(tmp_path):
    trees.coco_stuff(tmp_path / "a/cocostuff")
    trees.cityscapes(tmp_path / "b/cityscapes")
    assert recognise(tmp_path / "a") == "coco-stuff-27"
    assert recognise(tmp_path / "b") == "cityscapes"


def test_the_size_of_imagenet_s_is_in_the_name_or_the_class_folders(tmp_path):
    assert recognise(trees.imagenet_s(tmp_path / "ImageNetS300", classes=2)) == "imagenet-s-300"
    assert recognise(trees.imagenet_s(tmp_path / "val", images=1)) == "imagenet-s-50"
    with pytest.raises(InputError, match="must have 50, 300 or 919 class folders, got 3; say"):
        recognise(trees.imagenet_s(tmp_path / "x", classes=3))


def test_samples_of_imagenet_s(tmp_path):
    root = trees.imagenet_s(tmp_path)
    samples = list_samples("imagenet-s-50", root, "validation")
    assert len(samples) == 100
    assert samples[0].name == "n00000000/ILSVRC2012_val_00000000"
    assert samples[0].image == root / f"validation/{samples[0].name}.JPEG"
    assert samples[0].target == root / f"validation-segmentation/{samples[0].name}.png"
    test = list_samples("imagenet-s-50", root, "test")
    assert len(test) == 100
    assert {sample.target for sample in test} == {None}
    with pytest.raises(InputError, match="train-semi: this folder of the data set is missing"):
        list_samples("imagenet-s-50", root, "train-semi")


def test_voc_takes_what_the_list_says(tmp_path):
    names = [sample.name for sample in list_samples("voc", trees.voc(tmp_path), "val")]
    assert names == ["2007_000033", "2007_000042"]
    with pytest.raises(InputError, match=r"train\.txt: expected the list of the split"):
        list_samples("voc", tmp_path, "train")


def test_trainaug_has_masks_of_its_own(tmp_path):
    root = trees.voc_repackaged(tmp_path)
    augmented = list_samples("voc", root, "trainaug")
    assert [sample.target.parent.name for sample in augmented] == ["SegmentationClassAug"] * 2
    (plain,) = list_samples("voc", root, "val")
    assert plain.target.parent.name == "SegmentationClass"


def test_the_curated_list_of_coco(tmp_path):
    root = trees.coco_stuff(tmp_path)
    assert len(list_samples("coco-stuff-27", root, "val2017")) == 4
    trees.curate(root, "mine.txt", (2,))
    assert [s.name for s in list_samples("coco-stuff-27", root, "val2017")] == ["000000000002"]
    trees.curate(root, "Coco164kFull_Stuff_Coarse_6.txt", range(4))
    with pytest.raises(InputError, match=r"expected Coco164k\w+_7.txt or a single list, got 2"):
        list_samples("coco-stuff-27", root, "val2017")
    trees.curate(root, "z.txt", range(2175))
    assert len(list_samples("coco-stuff-27", root, "val2017")) == 2175
    trees.curate(root)
    samples = list_samples("coco-stuff-27", root, "val2017")
    assert [sample.name for sample in samples] == ["000000000001", "000000000003"]


@pytest.mark.parametrize("truth", ["gtFine", "annotations/gtFine"])
def test_both_layouts_of_cityscapes(tmp_path, truth):
    root = trees.cityscapes(tmp_path, truth)
    assert recognise(root) == "cityscapes"
    samples = list_samples("cityscapes", root, "val")
    assert [sample.name for sample in samples][:2] == [
        "lindau/lindau_000000_000019",
        "lindau/lindau_000001_000019",
    ]
    assert all("labelIds" in sample.target.name for sample in samples)
    assert len(samples) == 4


def test_directory_pairs_by_name_or_else_in_order(tmp_path):
    def pairs(root):
        return [
            (s.image and s.image.stem, s.target and s.target.stem)
            for s in list_samples("directory", root, "val")
        ]

    assert pairs(trees.directory(tmp_path / "1")) == [("a", "a"), ("b", "b")]
    ordered = trees.directory(tmp_path / "2", labels=("x", "y"))
    assert pairs(ordered) == [("a", "x"), ("b", "y")]
    short = trees.directory(tmp_path / "3", images=("a", "b", "c"), labels=("x", "y"))
    assert pairs(short) == [("a", "x"), ("b", "y"), ("c", None)]
    other = trees.directory(tmp_path / "4", images=("a", "b"), labels=("b", "c"))
    assert pairs(other) == [("a", None), ("b", "b"), (None, "c")]


def test_what_is_no_data_set(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"not the root of a known data set.*found photos"):
        recognise(tmp_path)
    with pytest.raises(InputError, match="expected the root folder of a data set, found none"):
        recognise(tmp_path / "none")
    for name in ("voc", "coco-stuff-27", "cityscapes"):
        with pytest.raises(InputError, match=f"of {name}, found none of them"):
            list_samples(name, tmp_path, FACTS[name].split)
    with pytest.raises(ConfigError, match="unknown data set 'vok'; did you mean 'voc'"):
        list_samples("vok", tmp_path, "val")
    with pytest.raises(ConfigError, match="unknown split of voc 'vall'; did you mean 'val'"):
        list_samples("voc", tmp_path, "vall")


def test_every_entry_is_there():
    assert DATASETS.keys() == FACTS.keys()
    for name in DATASETS:
        assert callable(lookup("data set", name, DATASETS))
        assert FACTS[name].split in FACTS[name].counts

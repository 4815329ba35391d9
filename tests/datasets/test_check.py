"""``uosam data check``: planted faults are found, each on one line, and nothing else is."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests import data_trees as trees
from uosam.cli import build_app, data
from uosam.datasets.check import check_data
from uosam.errors import InputError

COUNTS = {"imagenet-s": 100, "voc": 2, "coco": 4, "cityscapes": 4, "directory": 3}


def directory(root):
    return trees.directory(root, "abc", "abc")


@pytest.fixture(params=COUNTS)
def tree(request, tmp_path):
    """A root, and how many pictures its split has."""
    build = {"imagenet-s": trees.imagenet_s, "voc": trees.voc, "coco": trees.coco_stuff,
             "cityscapes": trees.cityscapes, "directory": directory}  # fmt: skip
    return build[request.param](tmp_path), COUNTS[request.param]


def faults(root, **options):
    """Return the faults besides that of the count, which no small tree can have right."""
    report = check_data(root, **options)
    return [fault for fault in report.faults if "the split must have" not in fault]


def test_a_sound_tree_has_no_fault_but_its_count(tree):
    root, count = tree
    report = check_data(root)
    assert (report.pictures, report.masks) == (count, count)
    if report.published is None:
        assert report.faults == ()
    else:
        expected = f"the split must have {report.published} pictures, got {count}"
        assert report.faults == (expected,)


def files(root, kind):
    ending = {"picture": (".JPEG", ".jpg", "Img8bit.png"), "mask": ("labelIds.png", ".png")}[kind]
    found = [path for path in sorted(root.rglob("*"))
             if path.name.endswith(ending) and "test" not in path.parts
             and (kind == "picture") == ("mages" in str(path.parent) or "imgs" in path.parts
                                         or "leftImg8bit" in path.parts
                                         or "validation" in path.parts)
             and "instanceIds" not in path.name]  # fmt: skip
    return found


def test_a_missing_partner(tree):
    root, _ = tree
    picture, mask = files(root, "picture")[0], files(root, "mask")[1]
    mask.unlink()
    picture.unlink()
    found = faults(root)
    assert len(found) == 2
    assert any(fault.endswith("no picture belongs to it") for fault in found)
    assert any(fault.endswith("no ground truth belongs to it") for fault in found)


def test_wrong_size_truncated_and_empty_files(tree):
    root, _ = tree
    pictures, masks = files(root, "picture"), files(root, "mask")
    trees.picture(pictures[0], (8, 6))
    pictures[1].write_bytes(pictures[1].read_bytes()[:-30])
    masks[1].write_bytes(b"")
    found = faults(root)
    assert len(found) == 3
    assert "mask must have the size of its picture 8 x 6 (H x W), got 6 x 8" in found[0]
    assert f"{pictures[1]}: picture is damaged or truncated" in found[1]
    assert found[2].startswith(f"{masks[1]}: file is empty")


@pytest.mark.parametrize(
    ("build", "kind", "largest", "ids"),
    [
        (trees.imagenet_s, "luss", 50, (0, 51)),
        (trees.voc, "palette", 20, (0, 21)),
        (trees.coco_stuff, "grey", 181, (0, 182)),
        (trees.cityscapes, "grey", 33, (0, 34)),
    ],
)
def test_ids_out_of_range(tmp_path, build, kind, largest, ids):
    root = build(tmp_path)
    path = files(root, "mask")[0]
    trees.mask(path, ids, kind=kind)
    assert faults(root) == [f"{path}: ids must be 0 to {largest}, got {ids[1]}"]


def test_masks_of_another_kind(tmp_path):
    root = trees.imagenet_s(tmp_path / "a")
    path = files(root, "mask")[0]
    trees.mask(path)
    (fault,) = faults(root)
    assert fault == (
        f"{path}: ground truth must be of kind luss, got index8; it was converted, take the file "
        "that the data set ships"
    )
    root = trees.voc(tmp_path / "b")
    path = files(root, "mask")[0]
    Image.fromarray(np.full((*trees.HW, 3), 128, np.uint8)).save(path)
    (fault,) = faults(root)
    assert "blue must be 0" in fault


def test_a_listed_name_without_any_file(tmp_path):
    root = trees.coco_stuff(tmp_path)
    trees.curate(root, numbers=(1, 77))
    assert faults(root) == ["000000000077: no picture belongs to it"]


def test_published_counts(tmp_path):
    root = trees.coco_stuff(tmp_path / "coco")
    assert check_data(root).published == 5000
    trees.curate(root)
    assert check_data(root).published == 2175
    root = trees.imagenet_s(tmp_path / "ImageNetS300", classes=3)
    report = check_data(root)
    assert report.faults == (
        "the split must have 4097 pictures, got 6",
        "the split must have 300 class folders, got 3",
    )
    assert check_data(root, split="test").faults[0] == "the split must have 9088 pictures, got 6"


def test_an_empty_split(tmp_path):
    for folder in ("imgs/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    assert check_data(tmp_path).faults == ("the split must have pictures, got none",)


def test_masks_beside_the_data_set(tmp_path):
    root = trees.cityscapes(tmp_path / "root")
    masks = tmp_path / "masks"
    for name in ("lindau/lindau_000000_000019_leftImg8bit", "munster_000000_000019",
                 "munster/munster_000001_000019"):  # fmt: skip
        trees.mask(masks / f"{name}.png", hw=(6, 9) if "munster/" in name else trees.HW)
    np.save(masks / "lindau/lindau_000000_000019_leftImg8bit.npy", np.zeros((2, *trees.HW)))
    trees.mask(masks / "stranger.png")
    found = faults(root, masks=masks)
    assert len(found) == 3
    assert found[0] == f"lindau/lindau_000001_000019: no mask in {masks}"
    assert found[1] == f"{masks}/stranger.png: belongs to no picture of the split"
    assert "must have the size of its picture 6 x 8 (H x W), got 6 x 9" in found[2]
    with pytest.raises(InputError, match="none: expected a folder, but it does not exist"):
        check_data(root, masks=tmp_path / "none")


def test_a_data_set_of_ones_own(tmp_path):
    root = trees.directory(tmp_path)
    report = check_data(root, dataset="uosam.datasets.layouts:directory")
    assert (report.split, report.pictures, report.faults) == ("val", 2, ())
    with pytest.raises(InputError, match="expected the root folder of a data set, found none"):
        check_data(tmp_path / "none", dataset="voc")


def test_workers_find_the_same(tmp_path):
    root = trees.imagenet_s(tmp_path, images=1)
    files(root, "mask")[3].write_bytes(b"")
    assert check_data(root, workers=2) == check_data(root)


def test_command(tmp_path, monkeypatch):
    root = trees.directory(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(build_app(), ["data", "check", str(root), *arguments])

    result = run()
    assert result.exit_code == 0, result.output
    assert "data set      directory" in result.output
    assert "ids           0 to 1" in result.output
    (root / "labels/val/a.png").unlink()
    result = run("--json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert found["pictures"] == 2
    assert found["faults"] == [f"{root}/imgs/val/a.jpg: no ground truth belongs to it"]
    result = run("--split", "vol")
    assert "unknown split of directory 'vol'; did you mean 'val'?" in str(result.exception)


def test_command_on_a_terminal(tmp_path, monkeypatch, capsys):
    root = trees.directory(tmp_path)
    for stream in (data.sys.stdout, data.sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    data.check(root)
    shown = capsys.readouterr().out
    assert "directory" in shown
    assert "│" in shown

"""Files that other programs write, damaged ones among them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from uosam.errors import ConfigError, InputError
from uosam.interchange.formats import find_format
from uosam.interchange.legend import check_name, check_size, make_legend, read_sidecar
from uosam.interchange.shapes import check_outline, fill, keyholes, paint, to_patches
from uosam.structures import LabelMap

COCO: dict[str, Any] = {
    "images": [{"id": 4, "file_name": "a.jpg", "height": 6, "width": 8}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 4,
            "category_id": 3,
            "segmentation": {"size": [6, 8], "counts": [12, 12, 24]},
        },
        {
            "id": 2,
            "image_id": 4,
            "category_id": 5,
            "segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]],
        },
    ],
}


def maps(source: Path, form: str) -> dict[str, LabelMap]:
    _, pictures = find_format(form).decode(source, None)
    return {picture.name: picture.labels for picture in pictures}


def test_coco_of_polygons_and_lists_smaller_ones_on_top(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(COCO))
    labels = maps(tmp_path / "x.json", "coco")["a"]
    assert (labels[:, 2:4] == 3).all()
    assert np.count_nonzero(labels == 5) == 36


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images",), None, "'images'|NoneType"),
        (("categories",), [], "category_id 3, which is not among"),
        (("images", 0, "file_name"), "../a.jpg", "relative path"),
        (("images", 0, "file_name"), "/etc/a.jpg", "relative path"),
        (("images", 0, "height"), 10**9, "at most"),
        (("images", 0, "height"), "six", "whole numbers"),
        (("images", 0, "height"), 6.5, "whole numbers"),
        (("images",), [COCO["images"][0]] * 2, "image id 4 twice"),
        (("categories", 0, "id"), -4, "category id -4"),
        (("categories", 0, "id"), 1 << 40, "fit in 32 bits"),
        (("categories", 1, "id"), 3, "category id 3 twice"),
        (("annotations", 0, "segmentation"), {"size": [6, 8], "counts": 5}, "run lengths"),
        (("annotations", 0, "segmentation"), {"size": [6, 8], "counts": {}}, "run lengths"),
        (("images", 0, "id"), 9, "image_id 4, which has no image"),
        (("annotations", 0, "segmentation"), {"size": [6, 8], "counts": [1, 2]}, "run lengths"),
        (("annotations", 0, "segmentation"), {"size": [3, 8], "counts": [24]}, "mask of"),
        (("annotations", 0, "segmentation"), [], "has no mask"),
        (("annotations", 0, "segmentation"), [["x", 1, 2, 3, 4, 5]], "polygon"),
        (("annotations", 0, "segmentation"), [[1, 2, 3]], "polygon as x, y"),
        (("annotations", 0, "segmentation"), [[1e999, 2, 3, 4, 5, 6]], "finite"),
        (("annotations", 0), 7, "COCO JSON"),
        (("annotations", 0, "category_id"), None, "COCO JSON"),
    ],
)
def test_damaged_coco_is_one_line(
    tmp_path: Path, path: tuple[Any, ...], value: Any, message: str
) -> None:
    document = json.loads(json.dumps(COCO))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        maps(tmp_path / "x.json", "coco")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "[" * 100_000, "\xff"])
@pytest.mark.parametrize("form", ["coco", "labelstudio", "mask2former"])
def test_other_files_are_one_line(tmp_path: Path, form: str, text: str) -> None:
    name = {"labelstudio": "tasks.json", "mask2former": "categories.json"}
    (tmp_path / name.get(form, "instances.json")).write_text(text)
    if (form, text) == ("labelstudio", "[]"):
        assert maps(tmp_path, form) == {}
        return
    with pytest.raises(InputError):
        maps(tmp_path, form)


@pytest.mark.parametrize("form", ["labelme", "cvat", "yolo", "voc", "coco", "mask2former"])
def test_an_empty_folder_is_one_line(tmp_path: Path, form: str) -> None:
    with pytest.raises(InputError, match=r"expected|cannot be read"):
        maps(tmp_path, form)


def test_equal_pictures_and_ids_of_the_background_are_refused(tmp_path: Path) -> None:
    twice = {**COCO, "images": [*COCO["images"], {**COCO["images"][0], "id": 5}]}
    (tmp_path / "x.json").write_text(json.dumps(twice))
    with pytest.raises(InputError, match="comes twice"):
        maps(tmp_path / "x.json", "coco")
    zero = {**COCO, "categories": [*COCO["categories"], {"id": 0, "name": "sky"}]}
    (tmp_path / "x.json").write_text(json.dumps(zero))
    with pytest.raises(InputError, match="would be the background"):
        maps(tmp_path / "x.json", "coco")


def labelme(shapes: list[dict[str, Any]]) -> str:
    return json.dumps(
        {"shapes": shapes, "imagePath": "..\\photos\\a.JPG", "imageHeight": 9, "imageWidth": 9}
    )


def test_labelme_shapes_of_all_kinds(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).save(buffer, "PNG")
    mask = base64.b64encode(buffer.getvalue()).decode()
    shapes = [
        {"label": "b", "points": [[0, 0], [3, 2]], "shape_type": "rectangle"},
        {"label": "a", "points": [[6, 6], [6, 8]], "shape_type": "circle"},
        {"label": "b", "points": [[7, 0], [8, 1]], "shape_type": "mask", "mask": mask},
        {"label": "a", "points": [[1, 1]], "shape_type": "point"},
    ]
    (tmp_path / "a.json").write_text(labelme(shapes))
    legend, pictures = find_format("labelme").decode(tmp_path, None)
    (picture,) = pictures
    assert legend.names == {1: "b", 2: "a"}
    assert picture.file == "a.JPG"
    assert picture.labels[:2, 7:].tolist() == [[0, 1], [1, 1]]
    assert np.count_nonzero(picture.labels == 1) == 12 + 3
    assert np.count_nonzero(picture.labels == 2) == 13
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\na\nb\n")
    assert find_format("labelme").decode(tmp_path, None)[0].names == {1: "a", 2: "b"}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"label": "a", "points": [[0, 0]], "shape_type": "rectangle"}, "two points"),
        ({"label": "a", "points": [[0, 0], [float("nan"), 1]], "shape_type": "circle"}, "finite"),
        ({"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": "!"}, "base64"),
        ({"label": "a", "points": [[0, 0], [1, 1]]}, "three points"),
        ({"label": 3, "points": []}, "'label' and 'points'"),
        ({"label": "a"}, "'label' and 'points'"),
    ],
)
def test_damaged_labelme_is_one_line(tmp_path: Path, shape: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(labelme([shape]))
    with pytest.raises(InputError, match=message):
        maps(tmp_path, "labelme")


def test_a_sidecar_that_lacks_a_class_is_named(tmp_path: Path) -> None:
    (tmp_path / "uosam.json").write_text('{"background": 0, "classes": []}')
    box = {"label": "a", "points": [[0, 0], [3, 2]], "shape_type": "rectangle"}
    (tmp_path / "a.json").write_text(labelme([box]))
    with pytest.raises(InputError, match=r"'a' is not among.*uosam\.json"):
        maps(tmp_path, "labelme")
    image = '<annotations><image name="a.jpg" width="9" height="9">{}</image></annotations>'
    mask = '<mask label="a" rle="0,4" left="0" top="0" width="2" height="2"/>'
    (tmp_path / "annotations.xml").write_text(image.format(mask))
    with pytest.raises(InputError, match="not in uosam"):
        maps(tmp_path, "cvat")
    result = {
        "type": "brushlabels",
        "original_width": 1,
        "original_height": 1,
        "value": {"rle": [0], "brushlabels": ["a"]},
    }
    task = [{"data": {"image": "/data/upload/1/a.jpg"}, "annotations": [{"result": [result]}]}]
    (tmp_path / "tasks.json").write_text(json.dumps(task))
    with pytest.raises(InputError, match="not in uosam"):
        maps(tmp_path, "labelstudio")
    (tmp_path / "data.yaml").write_text("names: [a]")
    with pytest.raises(InputError, match="not in uosam"):
        maps(tmp_path, "yolo")
    (tmp_path / "uosam.json").write_text('{"background": "x"}')
    with pytest.raises(InputError, match="remove the file"):
        read_sidecar(tmp_path)


def test_cvat_polygons_and_boxes_by_z_order(tmp_path: Path) -> None:
    shapes = (
        '<polygon label="b" z_order="2" points="2.5,2.5;4.5,2.5;4.5,4.5;2.5,4.5"/>'
        '<box label="a" z_order="1" xtl="0" ytl="0" xbr="6" ybr="6"/>'
        '<points label="a" points="1,1"/>'
    )
    text = f'<annotations><image name="x/a.jpg" width="9" height="9">{shapes}</image></annotations>'
    (tmp_path / "annotations.xml").write_text(text)
    labels = maps(tmp_path, "cvat")["x/a"]
    assert np.count_nonzero(labels == 1) == 9
    assert np.count_nonzero(labels) == 36


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<mask label="a" rle="0,3" left="0" top="0" width="2" height="2"/>', "run lengths"),
        ('<mask label="a" rle="x" left="0" top="0" width="2" height="2"/>', "run lengths"),
        ('<mask label="a" rle="4" left="0" top="0" width="two" height="2"/>', "whole number"),
        ('<polygon label="a" points="1,2"/>', "three points"),
        ('<polygon label="a" points="1,x;2,2;3,3"/>', "numbers in a polygon"),
        ('<polygon label="a" z_order="y" points="1,1;2,2;3,3"/>', "whole number"),
        ("<polygon", "XML of CVAT"),
    ],
)
def test_damaged_cvat_is_one_line(tmp_path: Path, shape: str, message: str) -> None:
    text = f'<annotations><image name="a.jpg" width="9" height="9">{shape}</image></annotations>'
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        maps(tmp_path, "cvat")


@pytest.mark.parametrize(
    "text", ["<svg/>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "<annotations/>"]
)
def test_other_xml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(InputError, match="CVAT for images"):
        maps(tmp_path, "cvat")


def yolo(folder: Path, line: str, names: str = "names: {0: a, 1: b}") -> Path:
    for part in ("labels", "images"):
        (folder / part).mkdir()
    (folder / "data.yaml").write_text(names)
    (folder / "labels" / "p.txt").write_text(line + "\n\n")
    PIL.Image.new("RGB", (20, 10)).save(folder / "images" / "p.png")
    return folder


def test_yolo_boxes_are_rectangles(tmp_path: Path) -> None:
    labels = maps(yolo(tmp_path, "1 0.5 0.5 0.2 0.4"), "yolo")["p"]
    assert np.count_nonzero(labels == 2) == 5 * 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0 0 1 0 1 1", "class from 0 to 1"),
        ("a 0 0 1 0 1 1", "class from 0 to 1"),
        ("0 0 0 1", "class from 0 to 1"),
        ("0 0 0 1 0 1 1 0", "pairs x, y"),
        ("0 0 0 1 nan 1 1", "finite"),
        pytest.param("0 0 0 1 1e308 1 1", "finite", marks=pytest.mark.filterwarnings("error")),
    ],
)
def test_damaged_yolo_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        maps(yolo(tmp_path, line), "yolo")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("{0: cat, 1: dog}", [1, 2]),
        ("{'1': dog, '0': cat}", [1, 2]),
        ("{0: cat, 2: dog, 5: x}", "class numbers"),
        ("{0: cat, a: dog}", "'names' of classes"),
    ],
)
def test_yolo_names_by_number(tmp_path: Path, names: str, found: list[int] | str) -> None:
    lines = "0 0.2 0.5 0.2 0.4\n1 0.7 0.5 0.2 0.4"
    folder = yolo(tmp_path, lines, names=f"names: {names}")
    (folder / "labels" / "classes.txt").write_text("cat\ndog\n")  # as LabelImg writes it
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            maps(folder, "yolo")
    else:
        assert np.unique(maps(folder, "yolo")["p"]).tolist() == [0, *found]


def test_yolo_without_names_labels_or_picture(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "0 0 0 1 0 1 1", names="names: 3")
    with pytest.raises(InputError, match="'names' of classes"):
        maps(folder, "yolo")
    (folder / "data.yaml").write_text("names: [a]")
    (folder / "images" / "p.png").write_bytes(b"x")
    with pytest.raises(InputError, match="picture is damaged"):
        maps(folder, "yolo")
    (folder / "images" / "p.png").unlink()
    with pytest.raises(InputError, match="expected the picture"):
        maps(folder, "yolo")
    (folder / "labels" / "p.txt").unlink()
    with pytest.raises(InputError, match="expected text files"):
        maps(folder, "yolo")


def test_damaged_voc_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="damaged or no picture"):
        maps(tmp_path, "voc")
    PIL.Image.new("RGB", (3, 2)).save(folder / "a.png")
    with pytest.raises(InputError, match="one channel"):
        maps(tmp_path, "voc")
    PIL.Image.fromarray(np.full((2, 3), 9, np.uint8)).save(folder / "a.png")
    assert (maps(tmp_path, "voc")["a"] == 9).all()
    (tmp_path / "labelmap.txt").write_text("# label\nbackground:0,0,0::\ncat:128,0,0::\n")
    with pytest.raises(InputError, match="holds 9"):
        maps(tmp_path, "voc")
    (tmp_path / "labelmap.txt").write_text("cat:1,2,3::\n")
    with pytest.raises(InputError, match="a colour of VOC's palette"):
        maps(tmp_path, "voc")
    (tmp_path / "labelmap.txt").unlink()
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<")
    with pytest.raises(InputError, match="XML of VOC"):
        maps(tmp_path, "voc")


def test_mask2former_without_a_category_or_masks(tmp_path: Path) -> None:
    (tmp_path / "categories.json").write_text('{"ignore_label": 255, "categories": []}')
    with pytest.raises(InputError, match="expected masks in"):
        maps(tmp_path, "mask2former")
    (tmp_path / "annotations_detectron2").mkdir()
    path = tmp_path / "annotations_detectron2" / "a.png"
    PIL.Image.fromarray(np.array([[255, 3]], np.uint8)).save(path)
    with pytest.raises(InputError, match="holds 3"):
        maps(tmp_path, "mask2former")


def test_unknown_formats_and_ids_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'coco'"):
        find_format("cocoa")
    with pytest.raises(InputError, match="32 bits"):
        make_legend([str(1 << 40)])
    with pytest.raises(InputError, match="relative path"):
        check_name("a/../../b.jpg", "x")
    with pytest.raises(InputError, match="relative path"):
        check_name("C:\\b.jpg", "x")
    with pytest.raises(InputError, match="at most"):
        check_size(0, 5, "x")
    with pytest.raises(InputError, match="three points"):
        check_outline("abc", "x")


@pytest.mark.parametrize("seed", range(6))
def test_painting_and_keyholes_give_any_map_again(seed: int) -> None:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(-1, 4, (12, 15)).astype(np.int32)
    labels = np.repeat(np.repeat(coarse, 1 + seed % 3, axis=0), 1 + seed % 2, axis=1)
    for canvas in (0, 3):
        patches = to_patches(labels, canvas, 0)
        np.testing.assert_array_equal(paint(patches, labels.shape, canvas), labels)
    np.testing.assert_array_equal(paint(to_patches(labels, None, 0), labels.shape, 9), labels)
    for label in range(4):
        mask = labels == label
        filled = np.zeros_like(mask)
        for outline in keyholes(mask, 0):
            filled |= fill([outline], labels.shape)
        np.testing.assert_array_equal(filled, mask)
    assert keyholes(np.zeros((3, 3), bool), 0) == []


def test_a_legend_of_equal_names() -> None:
    legend, ids = make_legend(["dog", "cat", "dog"], background=None)
    assert ids == {"dog": 0, "cat": 1}
    assert legend.ids == (0, 1)
    assert legend.titles == {0: "dog", 1: "cat"}

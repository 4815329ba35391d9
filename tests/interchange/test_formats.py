"""Every format there and back, and read by the libraries that own it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import supervision
from pycocotools.coco import COCO

from uosam.errors import InputError
from uosam.interchange.formats import FORMATS, find_format
from uosam.interchange.labelstudio import decode_brush, encode_brush
from uosam.interchange.legend import Labelled, Legend, encode_sidecar
from uosam.structures import IGNORE, LabelMap

NAMES = {7: "cat", 300: 'a "big" <dog>', 12: "cat"}
LEGEND = Legend(ids=(7, 12, 300), names=NAMES)


def draw(seed: int = 0) -> LabelMap:
    """A map with holes in holes, pieces that touch at corners, single pixels and ignored ones."""
    labels = np.zeros((40, 56), np.int32)
    labels[4:30, 5:30] = 300
    labels[8:24, 9:26] = 0
    labels[12:20, 13:22] = 7
    labels[15:17, 16:19] = IGNORE
    labels[20:36, 34:50] = 12
    labels[19, 33] = labels[2, 50] = 7
    labels[30:40, 0:4] = IGNORE
    noise = np.random.default_rng(seed).random((10, 10))
    labels[28:38, 10:20] = np.where(noise < 0.4, 7, np.where(noise < 0.6, 300, 0))
    return labels


PICTURES = [
    Labelled(name="n01/a.b", file="n01/a.b.jpg", labels=draw()),
    Labelled(name="empty", file="empty.jpg", labels=np.zeros((6, 9), np.int32)),
]


def store(folder: Path, form: str, legend: Legend = LEGEND, tolerance: float = 0.0) -> Path:
    """Write the pictures and their maps, sidecar included."""
    kind = find_format(form)
    files = [*kind.encode(PICTURES, legend, tolerance), encode_sidecar(legend, form)]
    for path, data in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    for picture in PICTURES:
        path = folder / (kind.pictures or "") / picture.file
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", picture.labels.shape[::-1]).save(path)
    return folder


def load(
    folder: Path, form: str, known: Mapping[str, int] | None = None
) -> tuple[Legend, dict[str, LabelMap]]:
    legend, pictures = find_format(form).decode(folder, known)
    return legend, {picture.name: picture.labels for picture in pictures}


@pytest.mark.parametrize("form", FORMATS)
def test_there_and_back(tmp_path: Path, form: str) -> None:
    legend, found = load(store(tmp_path, form), form)
    assert legend.background == 0
    for picture in PICTURES:
        expected = picture.labels
        if not FORMATS[form].keeps_ignore:
            expected = np.where(expected == IGNORE, 0, expected)
        if form == "labelstudio" and picture.name == "empty":
            continue  # a task without a mask tells no size
        np.testing.assert_array_equal(found[picture.name], expected)


@pytest.mark.parametrize("form", FORMATS)
def test_names_of_every_kind_come_back(tmp_path: Path, form: str) -> None:
    names = ["a#1", "a#2", "b+c", "b c", "q\"'&amp;", "x?y%20z", "n1/d.e"]
    kind = find_format(form)
    labels = np.zeros((6, 9), np.int32)
    labels[2:4, 3:7] = 7
    pictures = [Labelled(name=name, file=f"{name}.jpg", labels=labels) for name in names]
    for path, data in [*kind.encode(pictures, LEGEND, 0.0), encode_sidecar(LEGEND, form)]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    for picture in pictures:
        path = tmp_path / (kind.pictures or "") / picture.file
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (9, 6)).save(path)
    assert sorted(load(tmp_path, form)[1]) == sorted(names)


@pytest.mark.parametrize("form", ["coco", "labelme", "labelstudio", "cvat", "voc", "mask2former"])
def test_without_our_sidecar_the_regions_are_the_same(tmp_path: Path, form: str) -> None:
    (store(tmp_path, form) / "uosam.json").unlink()
    _, found = load(tmp_path, form)
    expected, labels = PICTURES[0].labels, found["n01/a.b"]
    for other in np.unique(expected).tolist():
        assert len(np.unique(labels[expected == other])) == 1
    np.testing.assert_array_equal(labels == IGNORE, expected == IGNORE)
    assert len(np.unique(labels)) == len(np.unique(expected))


@pytest.mark.parametrize("form", ["labelme", "labelstudio", "cvat", "voc", "mask2former", "coco"])
def test_known_names_give_the_ids(tmp_path: Path, form: str) -> None:
    store(tmp_path, form)
    known = {title: 10 * i for i, title in LEGEND.titles.items()}
    _, found = load(tmp_path, form, known)
    labels = PICTURES[0].labels
    np.testing.assert_array_equal(found["n01/a.b"], np.where(labels > 0, 10 * labels, labels))
    with pytest.raises(InputError, match="has no line in the list of class names"):
        load(tmp_path, form, {"cat (7)": 1})


@pytest.mark.parametrize("form", ["coco", "labelme", "cvat", "voc", "mask2former", "labelstudio"])
def test_maps_without_background(tmp_path: Path, form: str) -> None:
    legend = Legend(ids=(0, 7, 12, 300), names=NAMES, background=None)
    found_legend, found = load(store(tmp_path, form, legend), form)
    assert found_legend.background is None
    np.testing.assert_array_equal(found["n01/a.b"], PICTURES[0].labels)


@pytest.mark.parametrize("form", ["labelme", "cvat", "yolo"])
def test_polygons_keep_their_tolerance(tmp_path: Path, form: str) -> None:
    rows, cols = np.ogrid[:200, :240]
    disc = ((rows - 90) ** 2 + (cols - 110) ** 2 < 70**2).astype(np.int32)
    hole = (rows - 80) ** 2 + (cols - 100) ** 2 < 30**2
    disc[hole] = 0
    picture = Labelled(name="disc", file="disc.png", labels=disc)
    PIL.Image.new("RGB", (240, 200)).save(tmp_path / "disc.png")
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (240, 200)).save(tmp_path / "images" / "disc.png")
    distance = np.abs(np.hypot(rows - 90, cols - 110) - 70)
    distance = np.minimum(distance, np.abs(np.hypot(rows - 80, cols - 100) - 30))
    sizes = []
    for tolerance in (0.01, 1.5):
        for path, data in find_format(form).encode([picture], Legend(ids=(1,)), tolerance):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(data)
            sizes.append(len(data))
        _, found = load(tmp_path, form)
        wrong = found["disc"] != disc
        # Half a pixel for the rounding, and one since an outline runs through centres.
        assert not wrong.any() or distance[wrong].max() <= tolerance + 1.5
    assert max(sizes[len(sizes) // 2 :]) < max(sizes) / 3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_by_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = COCO(store(tmp_path, "coco") / "instances.json")
    capsys.readouterr()
    names = {c["id"]: c["name"] for c in data.dataset["categories"]}
    assert names == {7: "cat (7)", 12: "cat (12)", 300: 'a "big" <dog>', 301: "ignore"}
    labels = PICTURES[0].labels
    notes = data.loadAnns(data.getAnnIds(imgIds=[1]))
    assert len(notes) == 4
    for note in notes:
        label = IGNORE if note["iscrowd"] else note["category_id"]
        np.testing.assert_array_equal(data.annToMask(note), labels == label)
        assert note["area"] == np.count_nonzero(labels == label)
        x, y, width, height = map(int, note["bbox"])
        inside = (labels == label)[y : y + height, x : x + width]
        assert inside.sum() == note["area"]
        assert inside[0].any()
        assert inside[:, -1].any()


def test_coco_and_yolo_are_read_by_supervision(tmp_path: Path) -> None:
    labels = PICTURES[0].labels
    folder = store(tmp_path / "coco", "supervision")
    data = supervision.DetectionDataset.from_coco(
        images_directory_path=str(folder / "images"),
        annotations_path=str(folder / "instances.json"),
        force_masks=True,
    )
    path = next(path for path in data.image_paths if path.endswith("a.b.jpg"))
    found = data.annotations[path]
    ids = dict(zip(data.classes, [7, 12, 300, IGNORE], strict=True))
    assert found.mask is not None
    assert found.class_id is not None
    for mask, number in zip(found.mask, found.class_id, strict=True):
        np.testing.assert_array_equal(mask, labels == ids[data.classes[number]])

    folder = store(tmp_path / "yolo", "yolo")
    data = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "images" / "n01"),
        annotations_directory_path=str(folder / "labels" / "n01"),
        data_yaml_path=str(folder / "data.yaml"),
        force_masks=True,
    )
    assert data.classes == ["cat (7)", "cat (12)", 'a "big" <dog>']
    (found,) = data.annotations.values()
    assert found.mask is not None
    assert found.class_id is not None
    for number, label in enumerate((7, 12, 300)):
        union = found.mask[found.class_id == number].any(axis=0)
        np.testing.assert_array_equal(union, labels == label)


def test_voc_is_read_by_supervision_and_pillow(tmp_path: Path) -> None:
    folder = store(tmp_path, "voc")
    with PIL.Image.open(folder / "SegmentationClass" / "n01" / "a.b.png") as file:
        assert file.mode == "P"
        assert file.getpalette()[3:6] == [128, 0, 0]
        stored = np.array(file)
    labels = PICTURES[0].labels
    np.testing.assert_array_equal(stored == 255, labels == IGNORE)
    np.testing.assert_array_equal(stored == 3, labels == 300)
    data = supervision.DetectionDataset.from_pascal_voc(
        images_directory_path=str(folder / "JPEGImages" / "n01"),
        annotations_directory_path=str(folder / "Annotations" / "n01"),
    )
    (found,) = data.annotations.values()
    large = found[found.box_area == found.box_area.max()]
    np.testing.assert_array_equal(large.xyxy, [[5, 4, 30, 30]])


@pytest.mark.slow  # the import alone
def test_masks_for_mask2former_are_read_by_its_processor(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = store(tmp_path, "mask2former")
    stored = np.array(PIL.Image.open(folder / "annotations_detectron2" / "n01" / "a.b.png"))
    processor = transformers.Mask2FormerImageProcessor(
        ignore_index=255, do_resize=False, do_rescale=False, do_normalize=False
    )
    image = np.zeros((*stored.shape, 3), np.uint8)
    batch = processor([image], [stored], return_tensors="pt")
    classes = {
        c["id"]: c["dataset_id"]
        for c in json.loads((folder / "categories.json").read_text())["categories"]
    }
    labels = PICTURES[0].labels
    found = {
        classes[int(number)]: mask.numpy()
        for number, mask in zip(batch["class_labels"][0], batch["mask_labels"][0], strict=True)
    }
    assert sorted(found) == [0, 7, 12, 300]
    for label, mask in found.items():
        np.testing.assert_array_equal(mask > 0, labels == label)


def test_many_classes_become_16_bits(tmp_path: Path) -> None:
    labels = np.arange(300, dtype=np.int32).reshape(15, 20)
    labels[0, 1] = IGNORE
    picture = Labelled(name="a", file="a.jpg", labels=labels)
    legend = Legend(ids=tuple(range(1, 300)))
    for path, data in find_format("mask2former").encode([picture], legend, 0):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with PIL.Image.open(tmp_path / "annotations_detectron2" / "a.tif") as file:
        stored = np.array(file)
    assert stored.dtype == np.uint16
    assert stored[0, 1] == 65535
    np.testing.assert_array_equal(load(tmp_path, "mask2former")[1]["a"], labels)
    with pytest.raises(InputError, match="254 classes at most, got 299"):
        list(find_format("voc").encode([picture], legend, 0))


def test_cvat_masks_are_runs_of_their_box(tmp_path: Path) -> None:
    root = ElementTree.parse(store(tmp_path, "cvat") / "annotations.xml").getroot()
    assert [node.findtext("name") for node in root.iter("label")][:2] == ["cat (7)", "cat (12)"]
    labels = PICTURES[0].labels
    node = next(n for n in root.iter("mask") if n.get("label") == 'a "big" <dog>')
    left, top, width, height = (int(node.get(k, "")) for k in ("left", "top", "width", "height"))
    runs = [int(run) for run in node.get("rle", "").split(",")]
    flat = np.concatenate([np.full(run, index % 2) for index, run in enumerate(runs)])
    window = labels[top : top + height, left : left + width] == 300
    np.testing.assert_array_equal(flat.reshape(height, width), window)
    assert np.count_nonzero(labels == 300) == window.sum()


# Written by label_studio_sdk.converter.brush.mask2rle of label-studio-sdk 2.1.2.
SDK_MASK = [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0], [0] * 6]
SDK_RLE = [
    *(0, 0, 0, 120, 57, 27, 254, 31, 0, 183, 255, 108, 2),
    *(63, 248, 192, 35, 255, 182, 1, 111, 255, 13, 128, 0),
]


def test_brush_masks_are_those_of_the_sdk() -> None:
    mask = np.array(SDK_MASK, bool)
    assert encode_brush(mask) == SDK_RLE
    np.testing.assert_array_equal(decode_brush(SDK_RLE, mask.shape, "x"), mask)


def test_tasks_are_read_by_the_sdk_of_label_studio(tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    tasks = json.loads((store(tmp_path, "labelstudio") / "tasks.json").read_text())
    results = tasks[0]["annotations"][0]["result"]
    labels = PICTURES[0].labels
    ids = {**{title: i for i, title in LEGEND.titles.items()}, "ignore": IGNORE}
    for result in results:
        value = result["value"]
        flat = brush.decode_rle(value["rle"])
        hw = result["original_height"], result["original_width"]
        mask = flat.reshape(*hw, 4)[..., 3] > 0
        np.testing.assert_array_equal(mask, labels == ids[value["brushlabels"][0]])
        np.testing.assert_array_equal(brush.mask2rle((mask * 255).astype(np.uint8)), value["rle"])


def test_detections_are_those_of_supervision() -> None:
    from uosam.interchange.detections import to_detections

    labels = PICTURES[0].labels
    found = to_detections(labels, LEGEND)
    assert found.class_id is not None
    assert found.mask is not None
    assert found.class_id.tolist() == [7, 12, 300]
    assert found.data["class_name"].tolist() == ["cat (7)", "cat (12)", 'a "big" <dog>']
    np.testing.assert_array_equal(found.mask[2], labels == 300)
    np.testing.assert_array_equal(found.xyxy[2][:2], [5, 4])
    assert len(to_detections(np.zeros((3, 3), np.int32), LEGEND)) == 0

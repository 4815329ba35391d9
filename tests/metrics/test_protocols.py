from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.evaluation.test_evaluate import write
from uosam.errors import InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.metrics.geometry import to_protocol
from uosam.metrics.protocols import PROTOCOLS, decode_target


def numbered(h, w):
    return np.arange(h * w, dtype=np.int32).reshape(h, w)


@pytest.mark.parametrize("hw", [(427, 640), (640, 427), (375, 500), (320, 333), (320, 320)])
def test_centre_crop_samples_pixel_centres(hw):
    labels = numbered(*hw)
    short = min(hw)
    size = [320 if side == short else int(320 * side / short) for side in hw]
    found, _ = to_protocol(labels, labels, "centre-320")
    top, left = (round((side - 320) / 2) for side in size)
    rows = [min(hw[0] - 1, int((y + 0.5) * hw[0] / size[0])) for y in range(top, top + 320)]
    cols = [min(hw[1] - 1, int((x + 0.5) * hw[1] / size[1])) for x in range(left, left + 320)]
    assert (found == labels[np.ix_(rows, cols)]).mean() > 0.99  # but for ties
    torchvision = pytest.importorskip("torchvision.transforms")
    resize = torchvision.Resize(320, torchvision.InterpolationMode.NEAREST)
    picture = torchvision.CenterCrop(320)(resize(PIL.Image.fromarray(labels)))
    assert np.array_equal(found, np.asarray(picture))


def test_squash_and_resize_to_target():
    labels = numbered(200, 300)
    squashed, _ = to_protocol(labels, labels, "squash-320")
    expected = PIL.Image.fromarray(labels).resize((320, 320), PIL.Image.Resampling.NEAREST)
    assert np.array_equal(squashed, np.asarray(expected))
    small = numbered(512, 512)
    resized, target = to_protocol(small, labels, "to-target")
    assert target is labels
    rows, cols = (np.arange(n) * 512 // n for n in (200, 300))  # OpenCV takes the floor
    assert np.array_equal(resized, small[np.ix_(rows, cols)])


def test_a_prediction_at_protocol_size_stays_as_it_is():
    small = numbered(320, 320)
    pred, target = to_protocol(small, numbered(400, 500), "centre-320")
    assert pred is small
    assert target.shape == (320, 320)


@pytest.mark.parametrize(
    ("geometry", "text"),
    [
        ("native", r"must have the size of its ground truth 9 x 8 \(H x W\), got 5 x 4"),
        ("centre-320", r"9 x 8 \(H x W\) or be 320 x 320, got 5 x 4"),
    ],
)
def test_sizes_that_cannot_be_brought_together(geometry, text):
    with pytest.raises(InputError, match=text):
        to_protocol(numbered(5, 4), numbered(9, 8), geometry)


def test_coco_classes_partition_the_fine_ids():
    fine = np.arange(256, dtype=np.int32)[None]
    coarse = decode_target(fine, "coco-fine")[0]
    assert (coarse[182:] == -1).all()
    assert set(coarse[:91].tolist()) == set(range(12))  # things
    assert set(coarse[91:182].tolist()) == set(range(12, 27))  # stuff
    # person, bicycle, dog, banana; banner, sky-other, wall-wood, wood
    assert coarse[[0, 1, 17, 51]].tolist() == [9, 11, 7, 2]
    assert coarse[[91, 156, 176, 181]].tolist() == [17, 23, 18, 24]


def test_other_decodings():
    ids = np.array([[0, 6, 7, 20, 21, 33, 34, -1, 255]], np.int32)
    assert decode_target(ids, "cityscapes").tolist() == [[-1, -1, 0, 13, 14, 26, -1, -1, -1]]
    assert decode_target(ids, "voc").tolist() == [[0, 6, 7, 20, -1, -1, -1, -1, -1]]
    assert decode_target(ids, "ids") is ids


@pytest.mark.parametrize("name", [n for n in PROTOCOLS if not n.startswith("luss")])
def test_every_protocol_gives_a_perfect_score_to_permuted_truth(name, tmp_path):
    rng = np.random.default_rng(0)
    stored = {"coco-fine": (0, 5, 156, 181), "cityscapes": (7, 11, 23, 33)}
    ids = stored.get(PROTOCOLS[name].stored, (0, 3, 7, 20))
    clusters = PROTOCOLS[name].matching != "none"
    for index in range(3):
        blocks = rng.permutation(np.repeat(ids, 3)).reshape(3, 4)
        target = np.kron(blocks, np.ones((120, 100), int))
        classes = decode_target(target.astype(np.int32), PROTOCOLS[name].stored)
        pred = (classes + 4) % PROTOCOLS[name].classes if clusters else classes
        if index:
            target[:, :30] = 255
        write(tmp_path / "gt" / f"{index}.png", target)
        write(tmp_path / "pred" / f"{index}.png", pred)
    options = EvaluateOptions(protocol=name, absent="skip", boundary_f=0.008, resamples=0)
    result = evaluate([tmp_path / "pred"], tmp_path / "gt", options)
    scores = {key: s.value() for key, s in result.methods[0].summary.scores.items()}
    for key in ("mIoU", "pixel_accuracy", "object_IoU", "object_boundary_IoU", "object_boundary_F"):
        assert scores[key] == pytest.approx(1), key
    assert ("thing_mIoU" in scores) == name.startswith("coco")


def test_stego_drops_pixels_predicted_out_of_range(tmp_path):
    target = np.full((320, 320), 7)
    pred = np.zeros((320, 320), int)
    pred[:100] = 40  # no cluster
    write(tmp_path / "gt" / "a.png", target)
    write(tmp_path / "pred" / "a.png", pred)
    options = EvaluateOptions(protocol="cityscapes-27", resamples=0)
    result = evaluate([tmp_path / "pred"], tmp_path / "gt", options)
    assert result.methods[0].summary.scores["pixel_accuracy"].value() == 1
    assert result.methods[0].summary.classes.target_pixels.sum() == 220 * 320


def test_cityscapes_files_are_paired_by_image(tmp_path):
    target = np.full((320, 320), 8)
    for name in ("ulm_0_1", "bonn_0_2"):
        city = name.split("_")[0]
        write(tmp_path / "gt" / city / f"{name}_gtFine_labelIds.png", target)
        write(tmp_path / "gt" / city / f"{name}_gtFine_instanceIds.png", target)
    write(tmp_path / "pred" / "ulm_0_1_leftImg8bit.png", target * 0)
    write(tmp_path / "pred" / "bonn_0_2.png", target * 0)
    options = EvaluateOptions(protocol="cityscapes-27", resamples=0)
    result = evaluate([tmp_path / "pred"], tmp_path / "gt", options)
    assert len(result.images) == 2
    write(tmp_path / "pred" / "b" / "bonn_0_2_leftImg8bit.png", target * 0)
    write(tmp_path / "pred" / "hof_0_3.png", target * 0)
    (tmp_path / "pred" / "ulm_0_1_leftImg8bit.png").unlink()
    with pytest.raises(InputError) as caught:
        evaluate([tmp_path / "pred"], tmp_path / "gt", options)
    for text in (
        "is of the same image",
        "hof_0_3.png: no ground truth",
        "ulm_0_1_gtFine_labelIds.png: no prediction",
    ):
        assert text in str(caught.value)


def test_palette_and_grey_predictions_are_equal_for_voc(tmp_path):
    ids = np.kron(np.arange(4).reshape(2, 2), np.ones((6, 6), int)).astype(np.uint8)
    target = ids.copy()
    target[0] = 255
    for folder, array in (("gt", target), ("pred", ids)):
        (tmp_path / folder).mkdir()
        picture = PIL.Image.fromarray(array).convert("P")
        picture = PIL.Image.frombytes("P", (12, 12), array.tobytes())
        picture.putpalette(list(range(256)) * 3)
        picture.save(tmp_path / folder / "a.png")
    (tmp_path / "grey").mkdir()
    cv2.imwrite(str(tmp_path / "grey" / "a.png"), ids)
    options = EvaluateOptions(protocol="voc-standard", resamples=0)
    result = evaluate([tmp_path / "pred", tmp_path / "grey"], tmp_path / "gt", options)
    values = [m.summary.scores["mIoU"].value() for m in result.methods]
    assert values == [1, 1]

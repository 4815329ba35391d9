"""Records of regions survive their files, and other people's files are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from uosam.errors import InputError
from uosam.regions.records import (
    coco_document,
    decode_rle,
    describe,
    encode_rle,
    read_ssa,
    write_ssa,
)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_run_lengths_survive(mask: np.ndarray) -> None:
    rle = json.loads(json.dumps(encode_rle(mask)))
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert rle == json.loads(json.dumps(encode_rle(decode_rle(rle))))
    assert coco.area(rle) == mask.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_long_runs_survive(height: int, width: int, seed: int) -> None:
    runs = np.random.default_rng(seed).integers(1, 4000, height * width // 400 + 1)
    flat = (np.repeat(np.arange(len(runs)), runs) % 2)[: height * width]
    flat = np.pad(flat, (0, height * width - len(flat)))
    mask = flat.reshape(height, width).astype(bool)
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 2]},
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": "2"},
        {"size": [2, 2], "counts": "2R"},
        {"size": [2, 2], "counts": " 2"},
        {"size": [2, 2], "counts": "é"},
        {"size": 4, "counts": "22"},
    ],
)
def test_wrong_run_lengths_are_refused(rle: dict[str, object]) -> None:
    with pytest.raises(InputError, match="COCO run lengths"):
        decode_rle(rle)


def test_the_published_file_survives(shared: Path) -> None:
    data = (shared / "golden/ssa/vote_semantic.json").read_bytes()
    records, labels = read_ssa(data, "golden")
    golden = np.load(shared / "golden/ssa/vote.npz")
    assert labels is not None
    np.testing.assert_array_equal(labels, golden["voted"])
    ours = json.loads(write_ssa(records, labels, range(150)))
    theirs = json.loads(data)
    assert ours["semantic_mask"] == theirs["semantic_mask"]
    for one, other in zip(ours["annotations"], theirs["annotations"], strict=True):
        assert one == other | {"class_proposals": [other["class_proposals"]]}
    for record in records:
        assert record.area == record.mask.sum()
        again = describe(record.mask)
        assert again.segmentation == record.segmentation
        assert again.box == record.box


def test_the_engines_file_is_read(shared: Path) -> None:
    data = (shared / "golden/ssa/engine_semantic.json").read_bytes()
    records, labels = read_ssa(data, "golden")
    assert labels is None
    assert records[0].class_proposals == ("wall", "a room", "a dog")
    assert json.loads(write_ssa(records)) == json.loads(data)


def test_what_is_known_is_written_and_nothing_else() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 0]], bool)
    bare = json.loads(write_ssa([describe(mask)]))["annotations"][0]
    assert bare.keys() == {"segmentation", "area", "bbox"}
    assert bare["bbox"] == [1, 0, 1, 0]
    said = describe(
        mask,
        label=7,
        class_name="dog",
        class_proposals=("dog", "cat"),
        class_scores=(0.9, 0.1),
        source="vocabulary",
        caption="a dog",
    )
    [again], labels = read_ssa(write_ssa([said], np.full((2, 3), 7, np.int32)), "x")
    assert vars(again) == vars(said)
    np.testing.assert_array_equal(labels, np.full((2, 3), 7))


def test_a_bare_list_is_taken_and_an_empty_mask_has_a_record() -> None:
    records, labels = read_ssa(
        json.dumps(
            json.loads(write_ssa([describe(np.zeros((2, 3), bool))]))["annotations"]
        ).encode(),
        "x",
    )
    assert labels is None
    assert (records[0].area, records[0].box) == (0, (0, 0, 0, 0))


@pytest.mark.parametrize("data", [b"", b"{}", b"3", b'{"annotations": [1]}', b"\xff"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json: expected JSON with 'annotations'"):
        read_ssa(data, "a.json")


def test_masks_of_two_sizes_are_refused() -> None:
    document = {
        "annotations": [],
        "semantic_mask": {
            "0": encode_rle(np.ones((2, 2), bool)),
            "1": encode_rle(np.ones((2, 3), bool)),
        },
    }
    with pytest.raises(InputError, match="one size"):
        read_ssa(json.dumps(document).encode(), "a.json")


def test_coco_counts_pixels() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    record = describe(mask, label=3, class_name="dog", class_scores=(0.75,))
    found = coco_document(
        {"a.jpg": [record], "b.jpg": []}, {"a.jpg": (2, 3), "b.jpg": (4, 5)}, {3: "dog"}
    )
    assert [image["file_name"] for image in found["images"]] == ["a.jpg", "b.jpg"]
    [annotation] = found["annotations"]
    assert annotation["bbox"] == [1, 0, 2, 2] == coco.toBbox(annotation["segmentation"]).tolist()
    assert annotation["area"] == 3 == coco.area(annotation["segmentation"])
    assert (annotation["image_id"], annotation["category_id"], annotation["score"]) == (1, 3, 0.75)
    json.dumps(found)

"""Binary masks are told from maps of classes by the set, and soft ones by their values."""

import numpy as np
import pytest
from PIL import Image

from uosam.config import load_config
from uosam.errors import InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.binary import check_ignore, find_binary, read_binary
from uosam.io.codecs import LabelOptions, encode_labels, read_labels, read_with
from uosam.io.pairs import find_pairs
from uosam.runs.refine import refine_folder
from uosam.runs.summary import describe

DISC = np.zeros((24, 32), bool)
DISC[6:18, 8:24] = True


def write(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
        return path
    image = Image.fromarray(array)
    if palette:
        image = Image.frombytes("P", array.shape[::-1], array.tobytes())
        image.putpalette(bytes(range(256)) * 3)
    image.save(path)
    return path


@pytest.fixture
def masks(tmp_path):
    """Grey, palette and 16-bit masks of 0 and the largest value."""
    byte = (DISC * 255).astype(np.uint8)
    write(tmp_path / "masks/a.png", byte)
    write(tmp_path / "masks/b.png", byte, palette=True)
    write(tmp_path / "masks/c.png", (DISC * 65535).astype(np.uint16))
    write(tmp_path / "masks/empty.png", byte * 0)
    return tmp_path / "masks"


def test_a_set_of_two_values_is_binary(masks):
    files = sorted(masks.iterdir())
    assert find_binary(files) == 65535
    assert find_binary(files[:2]) == 255
    assert find_binary([masks / "empty.png"]) is None
    assert find_binary([]) is None
    for file in files[:3]:
        assert np.array_equal(read_binary(file), DISC)


@pytest.mark.parametrize("value", [1, 7, 254])
def test_one_other_value_contradicts(masks, value):
    write(masks / "other.png", (DISC * value).astype(np.uint8))
    assert find_binary(sorted(masks.iterdir())) is None
    assert read_binary(masks / "other.png") is None


def test_other_kinds_of_files_are_not_binary(masks, tmp_path):
    write(tmp_path / "a.npy", DISC)
    assert find_binary([tmp_path / "a.npy"]) is None
    (masks / "broken.png").write_bytes(b"broken")
    assert find_binary([masks / "broken.png", masks / "a.png"]) == 255


def test_the_ambiguous_mask_names_both_settings(masks):
    path = masks / "a.png"
    options = LabelOptions()
    with pytest.raises(InputError, match=r"labels\.ignore=none .*labels\.ignore=255 for ignore"):
        check_ignore(path, read_with(path, options), options)
    for ignore in ("none", 255):
        said = LabelOptions(ignore=ignore)
        check_ignore(path, read_with(path, said), said)
    empty = masks / "empty.png"
    check_ignore(empty, read_with(empty, options), options)


@pytest.fixture
def photos(masks):
    for mask in masks.iterdir():
        photo = np.where(np.roll(DISC, 1, 0)[..., None], [200, 60, 40], [60, 90, 160])
        write(masks.parent / "photos" / mask.name, photo.astype(np.uint8))
    return masks.parent / "photos"


CONFIG = load_config(overrides=["backend.name=graphcut", "local_region.judge=false"])


def test_refining_a_binary_set(photos, masks, tmp_path):
    run = refine_folder(find_pairs(photos, masks), tmp_path / "out", CONFIG)
    assert not run.failures
    assert run.status["refined"] == 3
    assert "note: masks hold 0 and 65535 alone: 65535 is taken" in "\n".join(describe(run))
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert set(np.unique(np.asarray(image))) == {0, 255}
    said = load_config(overrides=["backend.name=graphcut", "labels.ignore=255"])
    run = refine_folder(find_pairs(photos, masks), tmp_path / "kept", said)
    assert not run.notes


def test_refining_a_set_that_contradicts_itself(photos, masks, tmp_path):
    write(masks / "empty.png", DISC.astype(np.uint8))
    run = refine_folder(find_pairs(photos, masks), tmp_path / "out", CONFIG)
    assert sorted(run.failures) == ["a", "b", "c"]
    assert run.status["refined"] == 1


def test_scores_of_binary_masks_are_those_of_0_and_1(tmp_path):
    shifted = np.roll(DISC, 2, 1)
    for kind, scale in (("one", 1), ("byte", 255)):
        write(tmp_path / kind / "gt/a.png", (DISC * scale).astype(np.uint8))
        write(tmp_path / kind / "pred/a.png", (shifted * scale).astype(np.uint8))
    options = EvaluateOptions(resamples=0)
    plain = evaluate([tmp_path / "one/pred"], tmp_path / "one/gt", options)
    for pred, target in (("byte", "byte"), ("one", "byte"), ("byte", "one")):
        found = evaluate([tmp_path / pred / "pred"], tmp_path / target / "gt", options)
        assert found.methods[0].values == plain.methods[0].values
        assert any("255 is taken for id 1" in note for note in found.notes)
    assert not any("taken for id 1" in note for note in plain.notes)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("shape", [(24, 32), (1, 24, 32)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_soft_mask_is_one_object(tmp_path, dtype, shape, suffix):
    part = np.where(DISC, 0.75, 0.25).astype(dtype)
    part[0, 0] = 0.5
    path = tmp_path / f"a{suffix}"
    np.save(path, part.reshape(shape)) if suffix == ".npy" else np.savez(path, part.reshape(shape))
    file = read_labels(path)
    assert file.spec.codec == "soft"
    assert np.array_equal(file.labels, DISC)
    assert np.allclose(file.scores[1], part)
    assert np.allclose(file.scores.sum(axis=0), 1)
    wanted = np.roll(file.labels, 3, 1)
    wanted[0, 0] = 1
    path.write_bytes(encode_labels(suffix, wanted, file.spec, scores=file.stored))
    again = read_labels(path)
    assert np.array_equal(again.labels, wanted)
    assert again.stored.dtype == dtype
    assert again.stored.shape == shape
    same = again.labels == file.labels
    same[0, 0] = False
    assert np.array_equal(again.stored.reshape(24, 32)[same], part[same])


def test_parts_that_cannot_be_written():
    file_spec = read_spec()
    with pytest.raises(InputError, match="store the ids 0 and 1, got 0 to 2"):
        encode_labels(".npy", np.array([[0, 2]], np.int32), file_spec, scores=np.ones((1, 2)))
    with pytest.raises(InputError, match=r"needs the parts \(1, 2\), got none"):
        encode_labels(".npy", np.array([[0, 1]], np.int32), file_spec)


def read_spec():
    from uosam.structures import LabelSpec

    return LabelSpec(codec="soft", dtype="float64")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full((2, 3, 3), np.nan), "without nan"),
        (np.zeros((2, 3, 3)), "zeros everywhere"),
        (np.full((1, 3, 3), 7.0), "two classes or more"),
        (np.ones((0, 3, 3)), "two classes or more"),
    ],
)
def test_class_scores_that_say_nothing(tmp_path, scores, said):
    np.save(tmp_path / "a.npy", scores)
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / "a.npy")

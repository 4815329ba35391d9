"""Two folders without a pair: what was found, one name of each side, and the likely cause."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.errors import InputError
from uosam.io.mismatch import require_pairs
from uosam.io.pairs import find_pairs
from uosam.io.stores.mounts import mount


def write(folder: Path, names: list[str], array: np.ndarray) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, array)
        else:
            PIL.Image.fromarray(array).save(path)
    folder.mkdir(exist_ok=True)
    return folder


def message(images: Path, masks: Path) -> str:
    with pytest.raises(InputError) as caught:
        require_pairs(find_pairs(images, masks), images, masks)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("no mask belongs to a picture: ")
    return text


@pytest.mark.parametrize(
    ("pictures", "masks", "part"),
    [
        (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"], "masks end in '_mask' where pictures"),
        (["a.jpg"], ["mask_a.png"], "masks begin with 'mask_'"),
        (["a_rgb.jpg"], ["a.png"], "pictures end in '_rgb' where masks do not"),
        (["IMG_1.jpg"], ["img_1.png"], "upper and lower case"),
        (["x/a.jpg", "x/b.jpg"], ["y/a.png", "y/b.png"], "the sub-folders differ"),
        (["a.jpg"], ["q.png"], "names must agree up to the suffix"),
        (["a.jpg"], ["a.tif"], "masks must be .png, .npy or .npz"),
        (["a.jpg"], ["a.bmp", "b.bmp"], "save them as PNG"),
        (["a.jpg"], ["a_mask.npy"], "'_mask'"),
        ([], ["a.png"], "images the right folder?"),
        (["a.jpg"], [], "masks the right folder?"),
    ],
)
def test_the_likely_cause(
    tmp_path: Path, scene: Scene, pictures: list[str], masks: list[str], part: str
) -> None:
    labels = scene.coarse.astype(np.uint8)
    one = write(tmp_path / "images", pictures, scene.image)
    other = write(tmp_path / "masks", masks, labels)
    text = message(one, other)
    assert part in text
    for folder, names in ((one, pictures), (other, masks)):
        assert f"{folder} holds" in text
        assert not names or names[0] in text


def test_swapped_folders(tmp_path: Path, scene: Scene) -> None:
    labels = scene.coarse.astype(np.uint8)
    photographs = write(tmp_path / "photos", ["a.jpg", "b.jpg"], scene.image)
    masks = write(tmp_path / "masks", ["a.png", "b.png"], labels)
    text = message(masks, photographs)
    assert "look swapped" in text
    assert "2 .png, such as a.png" in text
    assert "2 .jpg, such as a.jpg" in text
    palette = PIL.Image.fromarray(labels, "P")
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(masks / "a.png")
    assert "look swapped" in message(masks, photographs)


def test_jpeg_masks_are_no_swapped_folders(tmp_path: Path, scene: Scene) -> None:
    photographs = write(tmp_path / "photos", ["a.jpg"], scene.image)
    masks = write(tmp_path / "masks", ["a.jpg"], scene.coarse.astype(np.uint8) * 100)
    assert "JPEG changes ids" in message(photographs, masks)


def test_a_file_that_is_no_picture_is_no_mask(tmp_path: Path, scene: Scene) -> None:
    masks = write(tmp_path / "masks", ["x.png"], scene.coarse.astype(np.uint8))
    photographs = write(tmp_path / "photos", [], scene.image)
    (photographs / "a.jpg").write_bytes(b"nothing")
    assert "names must agree" in message(photographs, masks)


def test_one_folder_of_masks_given_twice(tmp_path: Path, scene: Scene) -> None:
    masks = write(tmp_path / "masks", ["a.png", "b.png"], scene.coarse.astype(np.uint8))
    text = message(masks, masks)
    assert "pictures and masks are the same folder" in text
    assert "give the folder of the pictures first" in text
    assert "lower case" not in text


def test_one_archive_of_masks_given_twice(tmp_path: Path, scene: Scene) -> None:
    masks = write(tmp_path / "masks", ["a.png"], scene.coarse.astype(np.uint8))
    shutil.make_archive(str(tmp_path / "masks"), "zip", masks)
    archive = mount(Path(f"zip://::{tmp_path}/masks.zip"))
    text = message(archive, archive)
    assert "pictures and masks are the same folder" in text
    assert "lower case" not in text


def test_arrays_are_no_pictures(tmp_path: Path, scene: Scene) -> None:
    labels = scene.coarse.astype(np.uint8)
    arrays = write(tmp_path / "arrays", ["a.npy"], labels)
    masks = write(tmp_path / "masks", ["a.png"], labels)
    text = message(arrays, masks)
    assert f"{arrays} holds arrays and no pictures; give" in text


def test_pairs_are_let_through(tmp_path: Path, scene: Scene) -> None:
    images = write(tmp_path / "images", ["a.jpg"], scene.image)
    masks = write(tmp_path / "masks", ["a.png"], scene.coarse.astype(np.uint8))
    require_pairs(find_pairs(images, masks), images, masks)

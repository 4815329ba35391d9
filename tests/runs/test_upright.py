"""EXIF orientations, pictures of odd kinds, masks of other kinds, and names of two spellings."""

import struct
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageOps

from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.io.exif import orientation_of, turn
from uosam.io.images import PictureOptions, read_picture
from uosam.io.pairs import find_pairs
from uosam.runs.upright import read_for_mask

PIXELS = np.random.default_rng(0).integers(32, 256, (6, 8, 3), np.uint8)


def photo(path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(PIXELS).save(path, exif=exif)
    return path


@pytest.mark.parametrize("tag", range(1, 9))
def test_turned_as_pillow_turns(tmp_path, tag):
    with Image.open(photo(tmp_path / "a.png", tag)) as file:
        assert orientation_of(file) == tag
        shown = np.asarray(ImageOps.exif_transpose(file))
    assert np.array_equal(turn(PIXELS, tag), shown)
    assert np.array_equal(turn(shown, tag, back=True), PIXELS)


def test_what_is_done_about_an_orientation(tmp_path):
    path = photo(tmp_path / "a.png", 6)
    kept = read_for_mask(path, PictureOptions())
    assert np.array_equal(kept.image, PIXELS)
    assert "io.exif=apply-to-picture" in kept.notes[0]
    turned = read_for_mask(path, PictureOptions(exif="apply-to-picture"))
    assert np.array_equal(turned.image, turn(PIXELS, 6))
    assert (turned.orientation, turned.notes) == (1, ())
    both = read_for_mask(path, PictureOptions(exif="apply-to-both"))
    assert both.orientation == 6
    with pytest.raises(InputError, match=r"EXIF orientation 6, and io\.exif=refuse"):
        read_for_mask(path, PictureOptions(exif="refuse"))
    assert not read_for_mask(photo(path, 1), PictureOptions(exif="refuse")).notes


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match=r"io\.exif must be ignore, .* got 'turn'"):
        PictureOptions(exif="turn")
    for count in (0, 1 << 40):
        with pytest.raises(ConfigError, match=r"io\.max_pixels must be 1 to 178956970"):
            PictureOptions(max_pixels=count)
    with pytest.raises(ConfigError, match="depth lies in the frame of the stored picture"):
        load_config(overrides=["depth.folder=x", "io.exif=apply-to-both"])


def test_a_picture_of_too_many_pixels(tmp_path):
    path = photo(tmp_path / "a.png", 1)
    assert read_picture(path, max_pixels=48).image.shape == (6, 8, 3)
    with pytest.raises(InputError, match=r"8 x 6 pixels is too large, at most 47 .*io\.max_pixels"):
        read_picture(path, max_pixels=47)


def test_an_almost_black_picture_is_noted(tmp_path):
    Image.fromarray((PIXELS[..., 0].astype(np.uint16)) * 8).save(tmp_path / "a.png")
    assert "almost black" in read_picture(tmp_path / "a.png").notes[0]


def test_a_tiff_of_five_bands_is_called_one(tmp_path):
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 5, 278: 1, 279: 5}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries
    (tmp_path / "a.tif").write_bytes(data + bytes(4))
    with pytest.raises(InputError, match="a TIFF of 5 bands of 8-bit integers, which is not read"):
        read_picture(tmp_path / "a.tif")


def test_masks_of_kinds_that_are_not_read_are_named(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, suffix in (("a", "png"), ("b", "tif"), ("c", "jpg"), ("d", "json"), ("e", "none")):
        Image.fromarray(PIXELS).save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "masks" / f"{name}.{suffix}").touch()
    pairs = find_pairs(tmp_path / "images", tmp_path / "masks")
    assert [sample.name for sample in pairs.samples] == ["a"]
    why = {path.rpartition("/")[2]: reason for path, reason in pairs.unreadable.items()}
    assert sorted(why) == ["b.tif", "c.jpg", "d.json"]
    assert "convert it to PNG, which keeps ids" in why["b.tif"]
    assert "lossy formats such as JPEG change ids" in why["c.jpg"]
    assert [path.name for path in pairs.unpaired_images] == ["e.png"]


def test_one_name_of_two_spellings(tmp_path):
    for folder, form in (("images", "NFC"), ("masks", "NFD")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / unicodedata.normalize(form, "caf\u00e9.png")).touch()
    (sample,) = find_pairs(tmp_path / "images", tmp_path / "masks").samples
    assert sample.name == unicodedata.normalize("NFD", "caf\u00e9")

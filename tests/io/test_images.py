"""Pictures of every kind become (H, W, 3) uint8 RGB, or one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from uosam.errors import InputError
from uosam.io.atomic import write_atomic
from uosam.io.images import check_same_size, read_image

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def save(path: Path, picture: PIL.Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("p.png", "L"), ("p.png", "LA"), ("p.png", "P"), ("p.png", "RGB"), ("p.png", "RGBA"),
     ("p.tif", "CMYK"), ("p.bmp", "RGB"), ("p.webp", "RGB"), ("p.gif", "L"), ("p.ppm", "RGB"),
     ("p.tif", "L")],
)  # fmt: skip
def test_a_grey_ramp_reads_as_grey(tmp_path: Path, name: str, mode: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    picture = PIL.Image.fromarray(RAMP).convert("RGB").convert(mode)
    read = read_image(save(tmp_path / name, picture, **options))
    assert (read.shape, read.dtype) == ((16, 16, 3), np.uint8)
    # "P" goes through the web palette, whose greys are 51 apart.
    assert np.abs(read.astype(int) - RAMP[..., None]).max() <= (128 if mode == "P" else 0)


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = PIL.Image.new("RGB", (2, 1), (250, 20, 10))
    assert read_image(save(tmp_path / "p.png", red)).tolist() == [[[250, 20, 10]] * 2]


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    white = PIL.Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert read_image(save(tmp_path / "p.jpg", white)).min() > 250


def test_transparency_is_dropped_like_everyone_does(tmp_path: Path) -> None:
    clear = PIL.Image.new("RGBA", (1, 1), (9, 8, 7, 0))
    assert read_image(save(tmp_path / "p.png", clear)).tolist() == [[[9, 8, 7]]]


def test_palette_with_transparent_bytes(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(RAMP).convert("P")
    path = save(tmp_path / "p.png", picture, transparency=bytes(range(256)))
    assert read_image(path).shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_not_cut(tmp_path: Path, suffix: str) -> None:
    values = RAMP.astype(np.uint16) * 257
    read = read_image(save(tmp_path / f"p{suffix}", PIL.Image.fromarray(values)))
    np.testing.assert_array_equal(read, np.stack([RAMP] * 3, axis=-1))


def test_one_pixel(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "p.jpg", PIL.Image.new("L", (1, 1), 255))).shape == (1, 1, 3)


def rotated(path: Path) -> Path:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return save(path, PIL.Image.new("RGB", (4, 2)), exif=exif)


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    assert read_image(rotated(tmp_path / "p.jpg")).shape == (2, 4, 3)


def test_sizes_that_agree_after_rotation_only(tmp_path: Path) -> None:
    path = rotated(tmp_path / "p.jpg")
    check_same_size(path, (2, 4), Path("m.png"), (2, 4))
    with pytest.raises(InputError, match=r"2 x 4 \(H x W\), got 4 x 2; they agree only after the"):
        check_same_size(path, (2, 4), Path("m.png"), (4, 2))


@pytest.mark.parametrize("mask_hw", [(4, 2), (3, 3)])
def test_sizes_that_differ(tmp_path: Path, mask_hw: tuple[int, int]) -> None:
    path = save(tmp_path / "p.jpg", PIL.Image.new("RGB", (4, 2)))
    with pytest.raises(InputError, match=r"m\.png: .* resize the mask with nearest neighbour"):
        check_same_size(path, (2, 4), Path("m.png"), mask_hw)
    with pytest.raises(InputError, match="resize the mask"):
        check_same_size(tmp_path / "gone.jpg", (2, 4), Path("m.png"), mask_hw)


def test_truncated_at_every_tenth(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole = save(tmp_path / "p.jpg", PIL.Image.fromarray(noise)).read_bytes()
    for tenth in range(1, 10):
        (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(InputError, match=r"cut\.jpg: (picture is damaged|not a picture)"):
            read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"file is empty \(0 bytes\)"),
        (b"hello", "not a picture in a known format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged or truncated|not a picture"),
    ],
)
def test_no_picture(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_image(tmp_path / "p.png")
    assert "\n" not in str(caught.value)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "p.png")


@pytest.mark.parametrize(("dtype", "kind"), [(np.int32, "32-bit integers"), (np.float32, "floats")])
def test_pictures_without_a_range(tmp_path: Path, dtype: type, kind: str) -> None:
    path = save(tmp_path / "p.tif", PIL.Image.fromarray(np.zeros((2, 2), dtype)))
    with pytest.raises(InputError, match=f"got {kind}"):
        read_image(path)


def test_huge_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "p.png", PIL.Image.new("L", (30, 10)))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 200)
    assert read_image(path).shape == (10, 30, 3)  # beyond Pillow's warning, which is not shown
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"picture too large .* cut it into tiles"):
        read_image(path)


def test_atomic_write_leaves_the_old_file_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file.bin"
    write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]

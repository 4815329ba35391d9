from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from uosam.errors import InputError
from uosam.io.codecs import read_labels
from uosam.io.decoders.png import check_sums, decode_plain, join_channels
from uosam.io.stored import read_stored


def encoded(array, mode=None, **options) -> bytes:
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def random(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize(
    "array",
    [random((7, 5)), random((7, 5), np.uint16), random((7, 5, 3)), random((1, 1, 3))],
    ids=["grey", "grey16", "RGB", "one pixel"],
)
def test_plain_files_are_what_was_stored(array):
    assert check_sums(encoded(array))
    found = decode_plain(encoded(array))
    assert found is not None
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_all_ways_of_filtering_rows_are_undone(tmp_path):
    # Flat areas, ramps and noise make Pillow's encoder take every filter there is.
    ramp = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    array = np.stack([ramp, np.where(ramp < 60, 3, 200), random(ramp.shape)], axis=-1)
    array[:20] = 7
    data = encoded(array.astype(np.uint8))
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(decode_plain(data), np.array(PIL.Image.open(io.BytesIO(data))))
    assert np.array_equal(read_stored(tmp_path / "a.png").array, array)


@pytest.mark.parametrize(
    "data",
    [
        encoded(random((4, 4)), "P"),
        encoded(random((4, 4)))[:-12] + chunk(b"tEXt", b"a\0b"),
        encoded(random((4, 4)), "1"),
        encoded(random((4, 4, 4))),
        encoded(random((4, 4)), "LA"),
        encoded(random((4, 4)))[:-1],
        encoded(random((4, 4))) + b"\0",
        encoded(random((4, 4)))[:33] + chunk(b"gAMA", b"\0\0\0\1") + encoded(random((4, 4)))[33:],
        encoded(random((4, 4)))[:20],
    ],
    ids=["palette", "no end", "bits", "RGBA", "LA", "cut", "longer", "other chunk", "header"],
)
def test_all_other_files_are_left_to_pillow(data, capfd):
    assert not check_sums(data) or decode_plain(data) is None
    assert capfd.readouterr() == ("", "")


def test_a_file_with_other_chunks_is_read_all_the_same(tmp_path):
    array = random((6, 4))
    data = encoded(array)
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"gAMA", b"\0\0\xb1\x8f") + data[33:])
    assert np.array_equal(read_stored(tmp_path / "a.png").array, array)


def test_packed_data_that_end_early_are_damage(tmp_path):
    data = encoded(random((50, 40)))
    head = data[:33]
    whole = zlib.decompress(data[41:-16])
    cut = head + chunk(b"IDAT", zlib.compress(whole[:500])) + chunk(b"IEND", b"")
    assert decode_plain(cut) is None
    (tmp_path / "a.png").write_bytes(cut)
    with pytest.raises(InputError, match="damaged or truncated"):
        read_stored(tmp_path / "a.png")


def whole(array, mode=None, **options):
    """Bytes of a mask and its ids."""
    return encoded(array, mode, **options), array.astype(np.int32)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        whole(random((6, 9)) // 16),
        whole(random((6, 9), np.uint16) // 2048),
        (encoded(np.dstack([random((6, 9)) // 16] * 2 + [np.zeros((6, 9), np.uint8)])), None),
        whole(np.arange(54, dtype=np.uint8).reshape(6, 9), "P"),
        whole(random((6, 9)) // 16, dpi=(72, 72), transparency=3),
    ],
    ids=["grey", "16 bits", "LUSS", "palette", "other chunks"],
)
def test_no_flipped_bit_changes_an_id(tmp_path, data, ids):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    sound = read_labels(path).labels
    if ids is not None:
        assert np.array_equal(sound, ids)
    refused = []
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read_labels(path).labels, sound), place
        except InputError as error:
            refused.append(str(error))
    assert not [text for text in refused if "\n" in text or "0x" in text]
    # In a chunk's length, damage may leave the pixels as they are.
    assert len(refused) >= len(data) - 16


@pytest.mark.parametrize(
    ("mode", "part"),
    [
        *[(None, part) for part in (b"IHDR", b"IDAT", b"IEND")],
        *[("P", part) for part in (b"IHDR", b"PLTE", b"IDAT", b"IEND")],
    ],
)
def test_a_wrong_checksum_is_told(tmp_path, mode, part):
    data = bytearray(encoded(random((40, 50)), mode))
    start = data.index(part)
    data[start + 4 + int.from_bytes(data[start - 4 : start], "big")] ^= 1
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_stored(path)
    expected = "mask is damaged (a checksum is wrong); copy or write it again"
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize("size", [1, 7, 8, 20, 26, 32])
def test_a_file_that_ends_in_its_header_is_truncated(tmp_path, size):
    (tmp_path / "a.png").write_bytes(encoded(random((4, 4)))[:size])
    with pytest.raises(InputError, match=rf"mask is truncated, it ends after {size} bytes; copy"):
        read_stored(tmp_path / "a.png")


def test_no_message_tells_an_address_in_memory(tmp_path):
    data = encoded(random((4, 4)))
    body = struct.pack(">IIBBBBB", 0, 4, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(data[:8] + chunk(b"IHDR", body) + data[33:])
    with pytest.raises(
        InputError, match=r"truncated \(cannot identify image file\); copy"
    ) as caught:
        read_stored(tmp_path / "a.png")
    assert "0x" not in str(caught.value)


def test_channels_of_any_layout_become_one_number():
    rgb = random((5, 6, 3))
    expected = rgb.astype(np.int64) @ [1, 256, 65536]
    for array in (rgb, np.asfortranarray(rgb), np.ascontiguousarray(rgb[::-1])[::-1]):
        assert np.array_equal(join_channels(array), expected)
    assert join_channels(np.zeros((0, 4, 3), np.uint8)).shape == (0, 4)

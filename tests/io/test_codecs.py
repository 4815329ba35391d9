"""Label codecs: what goes in comes out, and what is no label map is refused in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uosam.errors import ConfigError, InputError
from uosam.io.codecs import CODECS, LabelOptions, encode_labels, read_labels, write_labels
from uosam.structures import IGNORE, LabelSpec

# name of the codec, suffix, dtype, largest id, stored value of "ignore"
ENCODINGS = [
    ("luss", ".png", "uint8", 65535, 1000),
    ("index8", ".png", "uint8", 255, 255),
    ("palette", ".png", "uint8", 255, 255),
    ("index16", ".png", "uint16", 65535, 65535),
    ("npy", ".npy", "int64", 2**31 - 1, -1),
    ("npy", ".npz", "int16", 2**15 - 1, -100),
]
VOC = bytes(range(256)) + bytes(range(255, -1, -1)) + bytes(256)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def spec_of(codec: str, dtype: str, ignore: int | None, **more: Any) -> LabelSpec:
    palette = VOC if codec == "palette" else None
    return LabelSpec(codec=codec, dtype=dtype, ignore=ignore, palette=palette, **more)


@pytest.mark.parametrize(("codec", "suffix", "dtype", "largest", "ignore"), ENCODINGS)
@given(data=st.data())
@quick
def test_labels_survive_the_file(
    tmp_path: Path, codec: str, suffix: str, dtype: str, largest: int, ignore: int, data: Any
) -> None:
    ids = st.one_of(
        st.just(IGNORE), st.integers(0, min(largest, 300)), st.integers(0, largest)
    ).filter(lambda value: value != ignore or value == IGNORE)
    labels = data.draw(hnp.arrays(np.int32, data.draw(shapes), elements=ids))
    path = tmp_path / f"mask{suffix}"
    write_labels(path, labels, spec_of(codec, dtype, ignore))
    read = read_labels(path)
    np.testing.assert_array_equal(read.labels, labels)
    assert read.labels.dtype == np.int32
    assert (read.spec.codec, read.spec.dtype) == (codec, dtype)
    assert read.spec.background == 0
    first = path.read_bytes()
    write_labels(path, read.labels, read.spec)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("colours", [1, 2, 3, 16, 21, 256])
def test_palette_and_indices_survive_whatever_the_palette_length(
    tmp_path: Path, colours: int
) -> None:
    indices = np.array([[0, colours // 2, colours - 1]], np.uint8)
    palette = bytes(np.random.default_rng(1).integers(0, 256, colours * 3, np.uint8))
    picture = PIL.Image.frombytes("P", (3, 1), indices.tobytes())
    picture.putpalette(palette)
    picture.save(tmp_path / "in.png")
    read = read_labels(tmp_path / "in.png")
    write_labels(tmp_path / "out.png", read.labels, read.spec)
    with PIL.Image.open(tmp_path / "out.png") as out:
        assert out.mode == "P"
        np.testing.assert_array_equal(np.asarray(out), indices)
    assert _chunk(tmp_path / "out.png", b"PLTE") == palette


@pytest.mark.parametrize("value", [2, 20, 254, 255])
def test_an_index_beyond_the_palette_survives(tmp_path: Path, value: int) -> None:
    palette = b"abcdef"
    (tmp_path / "in.png").write_bytes(_png(8, 3, bytes([value]), palette))
    read = read_labels(tmp_path / "in.png")
    write_labels(tmp_path / "out.png", read.labels, read.spec)
    with PIL.Image.open(tmp_path / "out.png") as out:
        assert np.asarray(out).tolist() == [[value]]
    assert _chunk(tmp_path / "out.png", b"PLTE").startswith(palette)


def _chunk(path: Path, kind: bytes) -> bytes:
    """Read one chunk of a PNG without Pillow."""
    data, at = path.read_bytes(), 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == kind:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    raise AssertionError(kind)


def test_luss_bytes_are_red_plus_256_green(tmp_path: Path) -> None:
    rgb = np.array([[[0, 0, 0], [5, 0, 0], [44, 1, 0], [1000 % 256, 1000 // 256, 0]]], np.uint8)
    PIL.Image.fromarray(rgb).save(tmp_path / "mask.png")
    read = read_labels(tmp_path / "mask.png")
    assert read.labels.tolist() == [[0, 5, 300, IGNORE]]
    write_labels(tmp_path / "again.png", read.labels, read.spec)
    with PIL.Image.open(tmp_path / "again.png") as again:
        np.testing.assert_array_equal(np.asarray(again), rgb)


def test_raw_ids_keep_1000(tmp_path: Path) -> None:
    rgb = np.array([[[1000 % 256, 1000 // 256, 0]]], np.uint8)
    PIL.Image.fromarray(rgb).save(tmp_path / "mask.png")
    assert read_labels(tmp_path / "mask.png", ignore=None).labels.tolist() == [[1000]]


def test_16_bit_takes_1000_as_a_class_unless_told(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[7, 1000, 65535]], np.uint16)).save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png").labels.tolist() == [[7, 1000, IGNORE]]
    told = read_labels(tmp_path / "m.png", ignore=1000)
    assert told.labels.tolist() == [[7, IGNORE, 65535]]
    write_labels(tmp_path / "n.png", told.labels, told.spec)
    assert read_labels(tmp_path / "n.png", ignore=None).labels.tolist() == [[7, 1000, 65535]]


def test_one_bit_mask_stays_one_bit(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[True, False]])).save(tmp_path / "m.png")
    read = read_labels(tmp_path / "m.png")
    assert read.labels.tolist() == [[1, 0]]
    write_labels(tmp_path / "n.png", read.labels, read.spec)
    assert (tmp_path / "n.png").read_bytes() == (tmp_path / "m.png").read_bytes()


def test_float_ids_keep_their_dtype(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([[0.0, 20.0]], np.float32))
    read = read_labels(tmp_path / "m.npy")
    write_labels(tmp_path / "n.npy", read.labels, read.spec)
    assert (tmp_path / "n.npy").read_bytes() == (tmp_path / "m.npy").read_bytes()


@pytest.mark.parametrize("background", [None, 3, "default"])
def test_background_is_the_users_choice(tmp_path: Path, background: Any) -> None:
    np.save(tmp_path / "m.npy", np.zeros((1, 1), np.uint8))
    spec = read_labels(tmp_path / "m.npy", background=background).spec
    assert spec.background == (0 if background == "default" else background)


@given(data=st.data())
@quick
def test_scores_are_written_with_the_refined_argmax(tmp_path: Path, data: Any) -> None:
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = data.draw(st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 4)))
    # Few distinct values, so that ties are common.
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 1.0])
    scores = data.draw(hnp.arrays(dtype, shape, elements=values))
    scores[0, 0, 0] = scores[0, 0, 0] or 1  # zeros everywhere are refused
    labels = data.draw(hnp.arrays(np.int32, shape[1:], elements=st.integers(0, shape[0] - 1)))
    suffix = data.draw(st.sampled_from([".npy", ".npz"]))
    path = tmp_path / f"scores{suffix}"
    path.write_bytes(encode_labels(suffix, labels, spec_of("scores", "x", None), scores=scores))
    read = read_labels(path)
    np.testing.assert_array_equal(read.labels, labels)
    assert read.stored.dtype == dtype
    assert read.scores is not None
    assert read.scores.dtype == np.float32
    same = np.argmax(scores, axis=0) == labels
    np.testing.assert_array_equal(read.stored[:, same], scores[:, same])


def test_scores_trade_places_so_probabilities_still_sum_to_one(tmp_path: Path) -> None:
    scores = np.array([0.5, 0.3, 0.2], np.float32).reshape(3, 1, 1)
    np.savez(tmp_path / "m.npz", other=np.zeros(2), scores=scores)
    read = read_labels(tmp_path / "m.npz")
    assert read.labels.tolist() == [[0]]
    write_labels(tmp_path / "n.npz", np.array([[2]], np.int32), read.spec, scores=read.stored)
    with np.load(tmp_path / "n.npz") as again:
        assert again.files == ["scores"]
        np.testing.assert_array_equal(again["scores"].ravel(), np.float32([0.2, 0.3, 0.5]))


@pytest.mark.parametrize("kind", ["logits", "log-probabilities", "probabilities", "votes"])
def test_soft_values_are_probabilities_whatever_was_stored(tmp_path: Path, kind: str) -> None:
    expected = np.random.default_rng(0).dirichlet(np.ones(4), (5, 6)).transpose(2, 0, 1)
    stored = {
        "logits": np.log(expected) + 3.5,
        "log-probabilities": np.log(expected),
        "probabilities": expected,
        "votes": expected * 1000,
    }[kind]
    np.save(tmp_path / "m.npy", stored)
    np.testing.assert_allclose(read_labels(tmp_path / "m.npy").scores, expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, -np.inf])
def test_a_pixel_that_tells_nothing_is_uniform(tmp_path: Path, value: float) -> None:
    content = np.full((4, 1, 2), value)
    content[1, 0, 1] = 1
    np.save(tmp_path / "m.npy", content)
    scores = read_labels(tmp_path / "m.npy").scores
    assert scores is not None
    assert scores[:, 0, 0].tolist() == [0.25] * 4


def _png(bits: int, colour: int, row: bytes, palette: bytes = b"") -> bytes:
    """Write the smallest PNG of one pixel by hand, for kinds that Pillow does not write."""
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, bits, colour, 0, 0, 0)),
        *([(b"PLTE", palette)] if palette else []),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    ):
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.jpg", b"x", r"masks are \.png, \.npy, \.npz, got \.jpg; lossy formats"),
        ("m", b"x", "got no suffix"),
        ("m.png", b"", r"file is empty \(0 bytes\)"),
        ("m.png", b"GIF89a" + bytes(30), "not a PNG file, in spite of its name"),
        ("m.png", _png(2, 0, b"\x40"), "must be an 8-bit or 16-bit grey.*got 2-bit grey"),
        ("m.png", _png(16, 2, bytes(6)), "got 16-bit RGB"),
        ("m.png", _png(8, 4, bytes(2)), "got 8-bit grey with alpha"),
        ("m.png", _png(8, 6, bytes(4)), "got 8-bit RGBA"),
        ("m.png", _png(8, 2, b"\1\2\3"), r"blue must be 0, got up to 3; a colour picture"),
        ("m.png", _png(8, 0, b"\1")[:45], "mask is damaged or truncated"),
        ("m.npy", b"\x93NUMPY", "mask is damaged or truncated"),
        ("m.npz", b"PK\x03\x04 broken", "mask is damaged or truncated"),
        (
            "m.npy",
            np.zeros((2, 2, 2), np.int32),
            r"\(C, H, W\) float class scores, got \(2, 2, 2\)",
        ),
        ("m.npy", np.zeros(3), r"got \(3,\) float64"),
        ("m.npy", np.full((1, 1), 1.4), "whole numbers, got fractions or nan; class scores"),
        ("m.npy", np.full((1, 1), np.inf), "must fit in 32 bits, got inf"),
        ("m.npy", np.full((1, 1), 2**31), "must fit in 32 bits, got 2147483648"),
        ("m.npy", np.array([[-1, -2]]), r"must have one value, got \[-2, -1\]"),
        ("m.npy", np.full((2, 1, 1), np.nan), "without nan"),
        ("m.npy", np.zeros((0, 1, 1)), r"got \(0, 1, 1\)"),
        ("m.npy", np.array([[object()]]), "mask is damaged or truncated"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_of_several_arrays_must_name_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(InputError, match="one called 'scores' or 'arr_0', got a, b"):
        read_labels(tmp_path / "m.npz")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "m.png")
    (tmp_path / "n.png").mkdir()
    with pytest.raises(InputError, match="expected a file, got a folder"):
        read_labels(tmp_path / "n.png")


def test_codec_that_does_not_fit(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png", "index8").spec.codec == "index8"
    with pytest.raises(InputError, match="'luss' was asked for, but the file is 'index8'"):
        read_labels(tmp_path / "m.png", "luss")
    with pytest.raises(ConfigError, match="unknown codec 'lus'; did you mean 'luss'"):
        read_labels(tmp_path / "m.png", "lus")


@pytest.mark.parametrize(
    ("suffix", "labels", "spec", "message"),
    [
        (".jpg", [[0]], spec_of("index8", "uint8", 255), r"written as \.png, got suffix '\.jpg'"),
        (".png", [[256]], spec_of("index8", "uint8", 255), "stores ids 0 to 255, got 256"),
        (".png", [[65536]], spec_of("luss", "uint8", 1000), "stores ids 0 to 65535"),
        (".png", [[2]], spec_of("index8", "bool", None), "stores ids 0 to 1,"),
        (".png", [[255]], spec_of("index8", "uint8", 255), "id 255 means ignore in this file"),
        (".npy", [[-1]], spec_of("npy", "uint8", None), "has no value for them; set labels.ignore"),
        (".npy", [[0]], spec_of("scores", "x", None), r"needs the scores \(C, 1, 1\), got none"),
    ],
)
def test_what_cannot_be_written(suffix: str, labels: Any, spec: LabelSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode_labels(suffix, np.array(labels, np.int32), spec)


def test_scores_refuse_an_id_beyond_their_channels() -> None:
    with pytest.raises(InputError, match="2 channels store ids 0 to 1, got 2 to 2"):
        encode_labels(
            ".npy",
            np.array([[2]], np.int32),
            spec_of("scores", "x", None),
            scores=np.zeros((2, 1, 1)),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "lus"}, "unknown codec 'lus'"),
        ({"background": -1}, "labels.background must be an id of 0 or more"),
        ({"ignore": "never"}, "labels.ignore must be an id of 0 or more, 'none' or 'default'"),
    ],
)
def test_options_out_of_range(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelOptions(**options)


def test_public_masks_read_as_luss(shared: Path) -> None:
    """Decode the golden files with nothing but Pillow and compare."""
    files = sorted((shared / "golden" / "luss" / "gt").rglob("*.png"))
    assert files
    for path in files:
        with PIL.Image.open(path) as picture:
            rgb = np.asarray(picture).astype(np.int64)
        read = read_labels(path, ignore=None)
        assert read.spec.codec == "luss"
        np.testing.assert_array_equal(read.labels, rgb[..., 0] + 256 * rgb[..., 1])


def test_every_codec_has_a_title() -> None:
    assert all(codec.title for codec in CODECS.values())


def test_a_mask_of_few_bytes_and_many_pixels_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(InputError, match="mask of 20000 x 20000 pixels is too large, at most 17"):
        read_labels(path)

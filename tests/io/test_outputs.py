"""No output is an input, leaves its folder, or is two outputs."""

import unicodedata

import pytest

from uosam.errors import ConfigError, InputError
from uosam.io.outputs import check_outputs


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    return path


def test_plain_outputs_pass(photo, tmp_path):
    out = tmp_path / "out"
    check_outputs([(out / "a.png", "a"), (out / "n/b.png", "n/b")], [photo], root=out)


def test_an_output_may_be_no_input_by_whatever_name(photo, tmp_path):
    linked = tmp_path / "linked"
    linked.symlink_to(photo.parent)
    hard = tmp_path / "hard.png"
    hard.hardlink_to(photo)
    soft = tmp_path / "soft.png"
    soft.symlink_to(photo)
    for path in (photo, linked / "a.png", hard, soft, photo.parent / ".." / "photos" / "a.png"):
        with pytest.raises(ConfigError, match=r"photos/a\.png would be overwritten by the output"):
            check_outputs([(path, "a")], [photo])


def test_a_link_that_is_an_input_is_kept_itself(photo, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    with pytest.raises(ConfigError, match=r"link\.png would be overwritten"):
        check_outputs([(link, "a")], [link])


def test_outputs_stay_in_their_folder(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "n01").symlink_to(other)
    with pytest.raises(InputError, match=r"n01/a would be written to .*other/a\.png, outside of"):
        check_outputs([(out / "n01" / "a.png", "n01/a")], [], root=out)
    with pytest.raises(InputError, match="outside of the output folder"):
        check_outputs([(out / ".." / "x.png", "../x")], [], root=out)


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("Photo", "photo"),
        tuple(unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")),
    ],
)
def test_two_outputs_are_two_files(tmp_path, names):
    outputs = [(tmp_path / f"{name}.png", name) for name in names]
    with pytest.raises(InputError, match=r"would both be written to .*; rename one"):
        check_outputs(outputs, [])


def test_names_that_no_file_can_have_are_left_to_those_who_open_them(tmp_path):
    check_outputs([(tmp_path / "a\0b", "a")], [tmp_path / "c\0d"])

"""Files that are whole or not there, under temporary names that nobody can choose."""

import os
import sys
from pathlib import Path

import pytest

from uosam.io.atomic import open_own, remove_leftovers, replacing, write_atomic


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "a.png"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_long_name_is_no_longer_on_the_way(tmp_path):
    path = tmp_path / ("a" * 255)
    write_atomic(path, b"1")
    assert path.read_bytes() == b"1"


def test_the_old_file_stays_if_the_new_one_fails(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/a") as caught:
        write_atomic(tmp_path / "file" / "a", b"")
    assert caught.value.filename == str(tmp_path / "file" / "a")


def test_temporary_names_cannot_be_foreseen_nor_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    names = []
    real = os.open

    def planting(name, flags, *rest):
        if flags & os.O_CREAT and len(names) < 2:
            names.append(Path(name).name)
            os.symlink(victim, name)
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", planting)
    for _ in range(2):
        with pytest.raises(FileExistsError):
            write_atomic(tmp_path / "a", b"evil")
    assert len(set(names)) == 2
    assert victim.read_bytes() == b"precious"


def test_a_link_at_the_final_name_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a").symlink_to(victim)
    write_atomic(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("how", ["symbolic", "hard", "pipe"])
def test_a_file_of_ours_has_one_name(tmp_path, how):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = tmp_path / "journal"
    if how == "symbolic":
        path.symlink_to(victim)
    elif how == "hard":
        path.hardlink_to(victim)
    else:
        os.mkfifo(path)
    with pytest.raises(OSError, match="journal"):
        open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    assert victim.read_bytes() == b"precious"


def test_leftovers_of_killed_runs_go(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from uosam.io.atomic import replacing\n"
        "with replacing(Path(sys.argv[1]) / 'a') as file:\n    file.write(b'x'); os._exit(9)\n"
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code, str(tmp_path)) == 9
    (tmp_path / ".uosam-mine").touch()
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".uosam-mine"]

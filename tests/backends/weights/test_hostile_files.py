"""No loader runs what is in a weights file, whatever it looks like."""

import struct
import zipfile
import zlib

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.hostile_files import RAN, program, two_directories
from uosam.backends.weights.archive import ArchiveError, read_archive
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.cli import build_app
from uosam.errors import BackendError
from uosam.runs.coarse_models import MODELS, CoarseOptions, find_model
from uosam.structures import Sample


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "program.pth").write_bytes(program())
    (folder / "two.pth").write_bytes(two_directories())
    (folder / "two.safetensors").write_bytes(two_directories())
    return folder


HOSTILE = ("program.pth", "two.pth", "two.safetensors")
SAID = (
    r"must be (a torch checkpoint, got (a TorchScript program|an archive with)"
    r"|weights of a student, got SafetensorError)"
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE[:2])
def test_they_are_no_duds(files, name, capfd):
    torch.load(files / name, weights_only=False)
    assert RAN in capfd.readouterr().out


def test_zipfile_sees_nothing_bad(files):
    with zipfile.ZipFile(files / "two.pth") as archive:
        assert "archive/data.pkl" in archive.namelist()
        assert not [name for name in archive.namelist() if "code" in name]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("model", sorted(set(MODELS) - {"segmentor"}))  # a folder, no file
def test_every_coarse_model(files, model, name, tmp_path, capfd):
    settings = {}
    if model == "kmeans":
        settings = {"classes": 2, "timm": "resnet10t"}
    if model == "cause":
        settings = {"backbone": str(files / name), "cluster": str(files / name)}
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    options = CoarseOptions(
        model=model, checkpoint=str(files / name), device="cpu", settings=settings
    )
    with pytest.raises(BackendError, match=SAID) as caught:
        find_model(options, [Sample(name="a", image=tmp_path / "a.png")])()
    assert "\n" not in str(caught.value)
    assert RAN not in capfd.readouterr().out


@pytest.fixture
def photos(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (32, 32)).save(tmp_path / folder / "a.png")
    return tmp_path


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("model", ["tiny", "vit_t", "vit_b", "vit_l", "vit_h"])
def test_refine(files, photos, model, name, capfd):
    arguments = ["refine", *(str(photos / part) for part in ("images", "masks", "out"))]
    arguments += ["--model", model, "--checkpoint", str(files / name)]
    with pytest.raises(BackendError, match=SAID):
        CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert RAN not in capfd.readouterr().out


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("model", ["stego", "pass"])
def test_run(files, photos, model, name, capfd):
    arguments = ["run", str(photos / "images"), str(photos / "out"), "--model", model]
    with pytest.raises(BackendError, match=SAID):
        CliRunner().invoke(
            build_app(), [*arguments, "--checkpoint", str(files / name)], catch_exceptions=False
        )
    assert RAN not in capfd.readouterr().out


@pytest.mark.parametrize("name", HOSTILE)
def test_models_fetch_believes_no_file_but_the_published_one(
    files, tmp_path, monkeypatch, name, capfd
):
    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobile_sam.pt").write_bytes((files / name).read_bytes())
    with pytest.raises(BackendError, match=r"mobile_sam\.pt must have 40728226 bytes and SHA-256"):
        CliRunner().invoke(build_app(), ["models", "fetch", "vit_t"], catch_exceptions=False)
    assert RAN not in capfd.readouterr().out


def saved(tmp_path, content=None):
    path = tmp_path / "good.pth"
    torch.save({"a": torch.arange(6.0)} if content is None else content, path)
    return path.read_bytes()


def refused(data, match):
    with pytest.raises(ArchiveError, match=match):
        read_archive(memoryview(data))


def archive(tmp_path, members, **options):
    path = tmp_path / "made.pth"
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members:
            file.writestr(name, content)
    return path.read_bytes()


def test_what_torch_and_zipfile_write_is_read(tmp_path):
    assert bytes(read_archive(memoryview(saved(tmp_path)))["data/0"]) == bytes(
        torch.arange(6.0).numpy().data
    )
    made = archive(tmp_path, [("r/data.pkl", b"x"), ("r/data/0", b"1234")])
    assert {name: bytes(data) for name, data in read_archive(memoryview(made)).items()} == {
        "data.pkl": b"x",
        "data/0": b"1234",
    }


def test_entries_have_one_meaning(tmp_path):
    good = saved(tmp_path)
    refused(b"x" + good, "two directories|at its end")
    refused(good + b"x", "damaged")
    refused(good + good, "two directories|at its end")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(tmp_path, [("r/data.pkl", b"a"), ("r/data.pkl", b"b")])
    refused(twice, r"two entries 'r/data\.pkl'")
    refused(archive(tmp_path, [("r/data.pkl", b""), ("s/data/0", b"")]), "torch.save has not")
    refused(archive(tmp_path, [("r/other", b"")]), "torch.save has not")
    refused(archive(tmp_path, [("r/data.pkl", b""), ("r/constants.pkl", b"")]), "TorchScript")
    refused(archive(tmp_path, [("r/data.pkl", b""), ("r/code/x.py", b"")]), "TorchScript")
    deflated = archive(tmp_path, [("r/data.pkl", b"a" * 99)], compression=zipfile.ZIP_DEFLATED)
    refused(deflated, "compressed")


def changed(data, at, layout, value):
    out = bytearray(data)
    struct.pack_into(layout, out, at, value)
    return bytes(out)


def test_a_directory_that_differs_from_its_entries(tmp_path):
    made = archive(tmp_path, [("r/data.pkl", b"abc"), ("r/data/0", b"12345678")])
    (start,) = struct.unpack("<I", made[-6:-2])
    second = 30 + len("r/data.pkl") + 3
    refused(changed(made, 30, "<c", b"x"), "differ from its directory")
    refused(changed(made, 18, "<I", 2), "differ from its directory")
    refused(changed(made, start + 42, "<I", second), "belong to no entry, or to two")
    refused(changed(made, start, "<c", b"x"), "damaged")
    refused(changed(made, start + 20, "<I", 1 << 30), "damaged")
    refused(changed(made, start + 46, "<c", b"\xff"), "names that are no text")
    refused(changed(made, start + 8, "<H", 1), "differ from its directory")
    refused(changed(changed(made, start + 8, "<H", 1), 6, "<H", 1), "encrypted")
    refused(changed(made, second - 1, "<c", b"x"), "damaged")
    refused(changed(made, len(made) - 12, "<H", 1), "at its end")
    described = changed(changed(made, start + 8, "<H", 8), 6, "<H", 8)
    refused(described, "differ from its directory")
    refused(b"PK", "damaged")


def test_bytes_between_entries_and_directory(tmp_path):
    made = archive(tmp_path, [("r/data.pkl", b"abc")])
    (start,) = struct.unpack("<I", made[-6:-2])
    hidden = made[:start] + b"hidden" + made[start:]
    refused(changed(hidden, len(hidden) - 6, "<I", start + 6), "belong to no entry")


def test_two_positions_of_the_directory_of_64_bits(tmp_path):
    good = saved(tmp_path)
    assert good[-98:-94] == b"PK\6\6"
    refused(changed(good, len(good) - 6, "<I", 7), "two directories")
    refused(changed(good, len(good) - 42 + 8, "<Q", 7), "two directories")
    refused(changed(good, len(good) - 98 + 24, "<Q", 1), "two directories")


def test_numbers_of_64_bits(tmp_path):
    """An archive beyond 4 GB holds full fields and the numbers in an extra field."""
    name, content = b"r/data.pkl", b"abc"
    extra = struct.pack("<2H2Q", 1, 16, 3, 3)
    full = 0xFFFFFFFF
    checksum = zlib.crc32(content)
    head = (45, 0, 0, 0, 0, checksum, full, full, len(name))
    local = struct.pack("<4s5H3I2H", b"PK\3\4", *head, len(extra)) + name + extra + content
    long = extra[:2] + struct.pack("<H3Q", 24, 3, 3, 0)
    line = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, *head, len(long), 0, 0, 0, 0, full)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 46 + len(name) + len(long), len(local), 0)
    data = local + line + name + long + end
    assert bytes(read_archive(memoryview(data))["data.pkl"]) == content
    short = line[:30] + struct.pack("<H", 4) + line[32:]
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 46 + len(name) + 4, len(local), 0)
    refused(local + short + name + struct.pack("<2H", 1, 0) + end, "damaged")


@pytest.mark.parametrize("text", ["big", "middle"])
def test_another_order_of_bytes(tmp_path, text):
    path = tmp_path / "a.pth"
    members = [("r/data.pkl", b"\x80\x02N."), ("r/byteorder", text)]
    path.write_bytes(archive(tmp_path, members))
    with pytest.raises(BackendError, match="another order of bytes; get it again"):
        read_checkpoint(path)

import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18
from typer.testing import CliRunner

from tests import coarse_models, tiny_folders
from uosam.backends.weights.checkpoints import folder_digest
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pictures
from uosam.runs import coarse_models as table
from uosam.runs.coarse import encode_coarse, label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.structures import Sample


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in ("a/one.png", "a/two.jpeg", "three.bmp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    return path


@pytest.fixture(autouse=True)
def fresh():
    coarse_models.CALLS.clear()
    torch.set_num_threads(1)


def options(checkpoint, **others):
    return CoarseOptions(
        **{"model": "tests.coarse_models:load", "checkpoint": str(checkpoint)} | others
    )


def run(images, out, chosen, **others):
    samples, unreadable = find_pictures(images)
    return label_folder(samples, out, chosen, unreadable=unreadable, **others)


def test_every_picture_gets_a_mask_of_its_name(images, checkpoint, tmp_path):
    seen = []
    result = run(images, tmp_path / "out", options(checkpoint), on_outcome=seen.append)
    assert (result.status["labelled"], result.skipped, result.failures) == (3, 0, {})
    assert [outcome.row["name"] for outcome in seen] == ["a/one", "a/two", "three"]
    score = coarse_models.load("")
    for name, file in (("a/one", "a/one.png"), ("a/two", "a/two.jpeg"), ("three", "three.bmp")):
        mask = read_labels(tmp_path / "out" / f"{name}.png")
        assert mask.spec.codec == "index8"
        expected = score(read_image(images / file)).argmax(0)
        np.testing.assert_array_equal(mask.labels, expected)
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_resumes_and_ends_with_the_same_bytes(images, checkpoint, tmp_path):
    out = tmp_path / "out"
    samples, _ = find_pictures(images)

    def stop(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_folder(samples, out, options(checkpoint), on_outcome=stop)
    assert len(list(out.rglob("*.png"))) == 1
    assert run(images, out, options(checkpoint)).skipped == 1
    whole = tmp_path / "whole"
    run(images, whole, options(checkpoint))
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    for file in files:
        if file.name == "summary.json":  # tells seconds
            continue
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    coarse_models.CALLS.clear()
    assert run(images, out, options(checkpoint)).skipped == 3
    assert not coarse_models.CALLS, "a model was loaded for nothing"


def test_changed_picture_or_lost_mask_is_done_again(images, checkpoint, tmp_path):
    out = tmp_path / "out"
    run(images, out, options(checkpoint))
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(images / "a" / "one.png")
    (out / "three.png").unlink()
    assert run(images, out, options(checkpoint)).skipped == 1
    assert read_labels(out / "a" / "one.png").labels.shape == (5, 5)
    assert (out / "three.png").is_file()


@pytest.mark.parametrize("change", ["settings", "checkpoint", "file"])
def test_other_settings_do_not_mix(images, checkpoint, tmp_path, change):
    out, table = tmp_path / "out", tmp_path / "table"
    table.write_text("1")
    chosen = {"settings": {"table": str(table)}}
    run(images, out, options(checkpoint, **chosen))
    if change == "settings":
        chosen["settings"]["classes"] = 5
    elif change == "file":
        table.write_text("2")
    else:
        checkpoint.write_bytes(b"others")
    with pytest.raises(ConfigError, match="holds results of other settings"):
        run(images, out, options(checkpoint, **chosen))
    assert run(images, out, options(checkpoint, overwrite=True, **chosen)).skipped == 0


def test_a_moved_checkpoint_is_the_same(images, checkpoint, tmp_path):
    run(images, tmp_path / "out", options(checkpoint))
    moved = checkpoint.rename(tmp_path / "moved.pth")
    assert run(images, tmp_path / "out", options(moved)).skipped == 3


def test_bad_pictures_are_named_and_the_run_goes_on(images, checkpoint, tmp_path):
    (images / "empty.jpg").write_bytes(b"")
    odd = np.zeros((4, 4, 3), np.uint8)
    odd[0, 0] = 1, 2, 3
    Image.fromarray(odd).save(images / "odd.png")
    result = run(images, tmp_path / "out", options(checkpoint))
    assert result.status["labelled"] == 3
    assert "file is empty" in result.failures["empty"]
    assert "unexpected ZeroDivisionError" in result.failures["odd"]
    assert not (tmp_path / "out" / "odd.png").exists()
    wrong = run(
        images, tmp_path / "other", options(checkpoint, model="tests.coarse_models:load_wrong")
    )
    assert wrong.status["labelled"] == 0
    assert "must return scores (K, 20, 30), got (2, 3, 3)" in wrong.failures["three"]


@pytest.mark.parametrize("compress", [False, True])
def test_scores_are_kept_for_refine(images, checkpoint, tmp_path, compress):
    folder = tmp_path / "scores"
    chosen = options(checkpoint, scores=str(folder), compress=compress)
    run(images, tmp_path / "out", chosen)
    path = folder / ("a/one.npz" if compress else "a/one.npy")
    file = read_labels(path)
    assert file.spec.codec == "scores"
    assert file.stored.dtype == np.float16
    mask = read_labels(tmp_path / "out" / "a" / "one.png").labels
    np.testing.assert_array_equal(file.labels, mask)
    expected = coarse_models.load("")(read_image(images / "a" / "one.png"))
    np.testing.assert_allclose(file.stored, expected, atol=2e-3)
    path.unlink()
    assert run(images, tmp_path / "out", chosen).skipped == 2
    assert path.is_file()


def test_encodings(tmp_path):
    labels = np.array([[0, 255, 299]], np.int32)
    for model, classes, codec in (
        ("pass", 300, "luss"), ("stego", 300, "index16"), ("stego", 27, "index8"),
        ("maskcontrast", 21, "index8"), ("mylab.net:load", 256, "index16"),
    ):  # fmt: skip
        path = tmp_path / "mask.png"
        ids = labels % (classes if codec == "index8" else 1000)
        path.write_bytes(encode_coarse(ids, classes, model))
        read = read_labels(path, ignore=None)
        assert read.spec.codec == codec
        np.testing.assert_array_equal(read.labels, ids)


def test_models_of_a_set_get_all_pictures(images, checkpoint, tmp_path):
    chosen = options(checkpoint, model="tests.coarse_models:load_fitted")
    run(images, tmp_path / "out", chosen)
    assert (read_labels(tmp_path / "out" / "three.png").labels == 3).all()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(images / "new.png")
    with pytest.raises(ConfigError, match="other settings"):
        run(images, tmp_path / "out", chosen)


def test_what_cannot_be_loaded(images, checkpoint, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"takes the settings classes, table, got clases \(got an"
    ):
        run(images, tmp_path / "out", options(checkpoint, settings={"clases": 3}))
    with pytest.raises(ConfigError, match="unknown model 'passs'; did you mean 'pass'"):
        run(images, tmp_path / "out", options(checkpoint, model="passs"))
    with pytest.raises(
        ConfigError, match="takes the settings cluster, backbone, heads, flip, crf,"
    ):
        run(images, tmp_path / "out", options(checkpoint, model="cause"))
    with pytest.raises(ConfigError, match="model 'pass' needs its weights; give --checkpoint FILE"):
        run(images, tmp_path / "out", CoarseOptions(model="pass"))
    missing = tmp_path / "missing.pth"
    with pytest.raises(
        InputError, match=r"checkpoint cannot be read .* give the weights file of the"
    ):
        run(images, tmp_path / "out", options(missing))
    assert not (tmp_path / "out").exists()


def test_every_model_of_the_table_exists():
    for name in table.REFERENCES:
        assert callable(table.lookup("model", name, table.REFERENCES))


def test_folders_without_pictures(tmp_path, images):
    with pytest.raises(InputError, match="no: expected a folder, but it does not exist"):
        find_pictures(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pictures found \(.jpg"):
        find_pictures(tmp_path / "empty")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(images / "three.png")
    with pytest.raises(InputError, match=r"three.bmp and .*three.png would both be written as thr"):
        find_pictures(images)


def test_folders_that_cannot_be_listed_are_named(images, checkpoint, tmp_path, monkeypatch):
    (images / "b").mkdir(exist_ok=True)
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path) == f"{images}/b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("uosam.io.walk.os.scandir", guarded)
    result = run(images, tmp_path / "out", options(checkpoint))
    assert result.status["labelled"] == 3
    assert result.failures == {f"{images}/b": "folder cannot be listed (Permission denied)"}


def test_samples_without_a_picture(checkpoint, tmp_path):
    result = label_folder([Sample(name="x")], tmp_path / "out", options(checkpoint))
    assert "sample 'x' must have a picture" in result.failures["x"]


def save_pass(path):
    torch.manual_seed(0)
    state = {f"module.{key}": value for key, value in resnet18().state_dict().items()}
    state["module.last_layer.weight"] = torch.randn(301, 512, 1, 1)
    state["module.last_layer.bias"] = torch.randn(301)
    torch.save({"epoch": 1, "state_dict": state}, path)


def test_command_labels_with_pass(images, tmp_path, monkeypatch):
    path = tmp_path / "pass300.pth.tar"
    save_pass(path)
    (images / "empty.jpg").write_bytes(b"")
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["coarse", str(images), str(tmp_path / "out"), "--model", "pass",
                 "--checkpoint", str(path), "--device", "cpu"]  # fmt: skip
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 1, result.output
    assert "labelled           3" in result.output
    assert "failed: empty: " in result.output
    from uosam.baselines.pass_ import load

    mask = read_labels(tmp_path / "out" / "a" / "one.png")
    assert mask.spec.codec == "luss"
    expected = load(path)(read_image(images / "a" / "one.png")).argmax(0)
    np.testing.assert_array_equal(mask.labels, expected)
    rows = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["settings"]["model"] == "pass"
    (images / "empty.jpg").unlink()
    again = CliRunner().invoke(build_app(), arguments)
    assert again.exit_code == 0, again.output
    assert "labelled           3 (3 by an earlier run)" in again.output


def test_command_reads_settings(images, checkpoint, tmp_path):
    def invoke(*settings):
        arguments = ["coarse", str(images), str(tmp_path / "out"), "--checkpoint", str(checkpoint),
                     "--model", "tests.coarse_models:load"]  # fmt: skip
        return CliRunner().invoke(build_app(), [*arguments, *settings])

    assert invoke("-s", "classes=7").exit_code == 0
    header = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["settings"]["settings.classes"] == 7
    for text, said in (("classes", "must be NAME=VALUE, got 'classes'"),
                       ("classes=[", "got a value YAML cannot read")):  # fmt: skip
        error = invoke("-s", text).exception
        assert isinstance(error, ConfigError)
        assert said in str(error)


def test_stopping_says_how_to_go_on(images, checkpoint, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("uosam.runs.coarse.label_folder", stop)
    arguments = ["coarse", str(images), str(tmp_path / "out"), "--model", "x:y",
                 "--checkpoint", str(checkpoint)]  # fmt: skip
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.output


def test_a_segmentor_of_transformers_labels_a_folder(images, tmp_path):
    folder = tiny_folders.segformer(tmp_path / "segformer")
    arguments = ["coarse", str(images), str(tmp_path / "out"), "--model", "segmentor"]
    result = CliRunner().invoke(
        build_app(),
        [
            *arguments,
            "--checkpoint",
            str(folder),
            "--device",
            "cpu",
            "--scores",
            str(tmp_path / "s"),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    assert "--background none" in result.output
    scores = np.load(tmp_path / "s/a/one.npy")
    assert scores.shape == (5, 20, 30)
    labels = read_labels(tmp_path / "out/a/one.png").labels
    np.testing.assert_array_equal(scores.argmax(0), labels)
    header = json.loads((tmp_path / "out/manifest.jsonl").read_text().splitlines()[0])
    assert header["weights"] == folder_digest(folder)


def test_pictures_with_an_orientation_are_named(images, checkpoint, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(images / "turned.png", exif=exif)
    done = run(images, tmp_path / "out", options(checkpoint))
    (note,) = done.notes
    assert note.startswith("picture has an EXIF orientation and was taken as it is stored")
    assert done.notes[note] == ["turned"]

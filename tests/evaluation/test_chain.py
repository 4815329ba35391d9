"""``uosam run``: the three steps in one call, with the background and the scores handed on."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from tests.runs.test_coarse import save_pass
from uosam.cli import build_app
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.evaluation import chain as module
from uosam.evaluation.chain import dump_run, load_run, run_all
from uosam.io.codecs import read_labels
from uosam.io.soft import find_scores, read_scores
from uosam.runs import refine as task
from uosam.runs.coarse_models import MODELS, describe_model

FAKE = "backend.name=tests.fakes:load"
KMEANS = ["coarse.model=kmeans", "coarse.classes=3", "coarse.seed=1", FAKE]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path, scene):
    """Three pictures of the scene and their ground truth."""
    for folder, array in (("images", scene.image), ("gt", scene.target.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for index, name in enumerate("abc"):
            Image.fromarray(np.roll(array, 2 * index, axis=1)).save(
                tmp_path / folder / f"{name}.png"
            )
    return tmp_path


def header(folder):
    return json.loads((folder / "manifest.jsonl").read_text().splitlines()[0])["settings"]


def test_all_three_steps(data):
    options = load_run(None, [*KMEANS, "evaluate.matching=pixels", "evaluate.resamples=10"])
    seen = []

    class Shown:
        def __init__(self, total, verb):
            seen.append((total, verb))

        def __enter__(self):
            return lambda outcome: seen.append(outcome.row["name"])

        def __exit__(self, *_):
            pass

    result = run_all(data / "images", data / "out", options, target=data / "gt", show=Shown)
    assert seen == [(3, "labelling"), *"abc", (3, "refining"), *"abc"]
    assert (result.failures, result.skipped) == ({}, "")
    assert {path.name for path in (data / "out").iterdir()} == {
        "coarse", "refined", "run.yaml", "evaluation.json", "evaluation.md",
    }  # fmt: skip
    document = json.loads((data / "out/evaluation.json").read_text())
    assert [method["name"] for method in document["methods"]] == ["coarse", "refined"]
    assert document["images"] == 3
    assert "| mIoU |" in (data / "out/evaluation.md").read_text()
    # Three clusters on three flat colours: k-means alone is nearly right, and no worse refined.
    coarse, refined = (method["scores"]["mIoU"] for method in document["methods"])
    assert coarse > 70
    assert refined >= coarse - 1
    again = run_all(data / "images", data / "out", options, target=data / "gt")
    assert (again.coarse.skipped, again.refined.skipped) == (3, 3)
    assert json.loads((data / "out/evaluation.json").read_text()) == document


@pytest.mark.parametrize(("matching", "noted"), [("none", True), ("pixels", False)])
def test_clusters_taken_for_classes_are_noted(data, matching, noted):
    settings = [*KMEANS, f"evaluate.matching={matching}", "evaluate.resamples=0"]
    result = run_all(data / "images", data / "out", load_run(None, settings), target=data / "gt")
    note = "ids of kmeans are clusters, but plain takes them for classes; -s evaluate.matching"
    assert any(line.startswith(note) for line in result.evaluation.notes) == noted
    assert (note in (data / "out/evaluation.md").read_text()) == noted


def test_models_that_learnt_classes_have_no_clusters():
    assert not MODELS["maskcontrast-linear"].clusters
    assert not describe_model("my.net:load").clusters
    assert describe_model("pass").clusters


def test_each_model_says_what_its_background_is():
    without = {"cause", "clusters", "hp", "kmeans", "picie", "segmentor", "smooseg", "stego"}
    without |= {"student"}
    for name, facts in MODELS.items():
        assert facts.background == (None if name in without else 0)
        options = load_run(None, [f"coarse.model={name}"])
        expected = "none" if name in without else 0
        assert options.config.labels.background == expected
        assert options.evaluate.background == expected
    assert load_run(None, ["coarse.model=my.net:load"]).config.labels.background == 0


def test_the_background_reaches_refine_and_evaluation(data):
    run_all(data / "images", data / "out", load_run(None, KMEANS), target=data / "gt")
    assert header(data / "out/refined")["labels.background"] == "none"
    document = json.loads((data / "out/evaluation.json").read_text())
    assert document["protocol"]["background"] is None


def test_what_the_user_says_wins():
    options = load_run(None, ["coarse.model=stego", "labels.background=3"])
    assert options.config.labels.background == 3
    assert options.evaluate.background == 3
    options = load_run(None, ["coarse.model=stego", "evaluate.background=2"])
    assert options.config.labels.background == "none"
    assert options.evaluate.background == 2
    options = load_run(None, ["coarse.model=stego", "labels.background=default"])
    assert options.evaluate.background is None


def test_published_protocols_keep_their_own_background():
    options = load_run(None, ["coarse.model=cause", "evaluate.protocol=voc-cause"])
    assert options.config.labels.background == "none"
    assert options.evaluate.resolve().background == 0


def test_settings_of_the_model_stand_beside_the_others(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("coarse: {model: stego, crf: true, device: cpu}\nlocal_region: {cascade: 1}\n")
    options = load_run(file, ["coarse.probe=linear", "coarse.flip=false", "coarse.x=[", FAKE])
    assert options.coarse.settings == {"crf": True, "probe": "linear", "flip": False, "x": "["}
    assert options.coarse.device == "cpu"
    assert options.config.refine.local_region.cascade == 1
    written = tmp_path / "again.yaml"
    written.write_text(dump_run(options))
    assert load_run(written) == options


def test_defaults_are_those_of_refine():
    ours = load_run(None, ["coarse.model=pass"]).config
    assert ours == load_config(None, ["labels.background=0"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("coarse.device=cpu", "a run must have a USS model, got none; give --model NAME"),
        ("coarse.soft=7", "coarse.soft must be bool, got '7'"),
        ("evaluate.protokol=x", "unknown key in config section evaluate 'protokol'; did you mean"),
        ("coarser.model=x", "unknown config section 'coarser'"),
    ],
)
def test_bad_settings(setting, said):
    model = [] if setting.startswith("coarse.device") else ["coarse.model=kmeans"]
    with pytest.raises(ConfigError) as caught:
        load_run(None, [*model, setting])
    assert said in str(caught.value)


def test_bad_folders(data):
    options = load_run(None, KMEANS)
    with pytest.raises(ConfigError, match=r"must not be or lie in .*images; give a folder beside"):
        run_all(data / "images", data / "images/out", options)
    with pytest.raises(ConfigError, match=r"must not be or lie in .*gt"):
        run_all(data / "images", data / "gt", options, target=data / "gt")
    with pytest.raises(InputError, match="expected the folder of ground truth, found none"):
        run_all(data / "images", data / "out", options, target=data / "none")
    assert not (data / "out").exists()


def test_a_bad_picture_is_named_and_nothing_is_scored(data):
    options = load_run(None, KMEANS)
    run_all(data / "images", data / "out", options, target=data / "gt")
    (data / "images/b.png").write_bytes(b"")
    result = run_all(data / "images", data / "out", options, target=data / "gt")
    assert result.failures.keys() == {"b"}
    assert (result.coarse.status["labelled"], result.refined.skipped) == (2, 2)
    assert result.skipped == "nothing was scored, since 1 failed; mend them and run again"
    assert not (data / "out/evaluation.json").exists()
    assert not (data / "out/evaluation.md").exists()


def test_soft_scores_are_used_and_masks_keep_the_encoding_of_the_community(data, monkeypatch):
    save_pass(data / "pass.pth.tar")
    got = []
    refine = task.refine

    def spy(*arguments, scores=None, **others):
        got.append(scores)
        return refine(*arguments, scores=scores, **others)

    monkeypatch.setattr(task, "refine", spy)
    options = load_run(
        None, ["coarse.model=pass", f"coarse.checkpoint={data}/pass.pth.tar", "coarse.soft=true",
               "coarse.device=cpu", FAKE]
    )  # fmt: skip
    result = run_all(data / "images", data / "out", options)
    assert result.failures == {}
    assert [scores.shape for scores in got] == [(301, 64, 96)] * 3
    np.testing.assert_allclose(got[0].sum(axis=0), 1, atol=1e-4)
    mask = read_labels(data / "out/refined/a.png")
    assert mask.spec.codec == "luss"
    np.testing.assert_array_equal(
        got[0].argmax(axis=0), read_labels(data / "out/coarse/a.png").labels
    )
    row = json.loads((data / "out/refined/manifest.jsonl").read_text().splitlines()[1])
    assert "scores_sha256" in row
    again = run_all(data / "images", data / "out", options)
    assert (len(got), again.refined.skipped) == (3, 3)
    # Sharper scores of the same argmax are other scores: that picture alone is refined again.
    path = data / "out/scores/b.npy"
    np.save(path, np.load(path) * np.float16(0.5))
    again = run_all(data / "images", data / "out", options)
    assert (len(got), again.refined.skipped) == (4, 2)


def test_scores_must_be_those_behind_the_mask(tmp_path):
    labels = np.array([[0, 1], [-1, 2]], np.int32)
    scores = np.eye(3, dtype=np.float16)[[0, 1, 1, 2]].T.reshape(3, 2, 2)
    np.save(tmp_path / "a.npy", scores)
    np.savez(tmp_path / "b.npz", scores=scores)
    for name in "ab":
        found = read_scores(find_scores(tmp_path, name), labels)
        np.testing.assert_allclose(found[:, 0, 1], [0, 1, 0])
    with pytest.raises(InputError, match=r"c: expected class scores \(.npy or .npz\) beside"):
        find_scores(tmp_path, "c")
    with pytest.raises(InputError, match="must be the argmax of its class scores, but 3 pixels"):
        read_scores(tmp_path / "a.npy", labels[:, ::-1])
    with pytest.raises(InputError, match=r"must be floats \(C, 1, 2\), got \(3, 2, 2\) float16"):
        read_scores(tmp_path / "a.npy", labels[:1])


def test_command(data, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def invoke(*more):
        arguments = ["run", data / "images", data / "out", "--gt", data / "gt"]
        arguments += ["--model", "kmeans", "-s", "coarse.classes=3"]
        arguments += ["--segmenter", "tests.fakes:load", *more]
        return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])

    result = invoke("--device", "cpu", "-s", "evaluate.matching=pixels")
    assert result.exit_code == 0, result.output
    assert "labelled           3\n" in result.output
    assert "refined " in result.output
    assert "mIoU" in result.output
    stored = yaml.safe_load((data / "out/run.yaml").read_text())
    assert stored["coarse"]["model"] == "kmeans"
    assert stored["backend"]["device"] == "cpu"
    monkeypatch.chdir(data)
    again = CliRunner().invoke(build_app(), ["run", "images", "out", "-c", "out/run.yaml"])
    assert again.exit_code == 0, again.output
    assert "labelled           3 (3 by an earlier run)" in again.output
    (data / "images/c.png").write_bytes(b"")
    result = invoke("--device", "cpu")
    assert result.exit_code == 1
    assert "failed: c: " in result.output
    assert "nothing was scored, since 1 failed" in result.output


def test_the_dial_sets_the_levels_of_the_segmenter(data):
    arguments = ["run", str(data / "images"), str(data / "out"), "--model", "kmeans"]
    arguments += ["-s", "coarse.classes=3", "--segmenter", "graphcut", "--level", "2"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    stored = yaml.safe_load((data / "out/run.yaml").read_text())
    assert stored["local_region"]["levels"] == stored["global_region"]["levels"] == [2]


def test_stopping_says_how_to_go_on(data, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_all", stop)
    arguments = ["run", str(data / "images"), str(data / "out"), "--model", "kmeans"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.output

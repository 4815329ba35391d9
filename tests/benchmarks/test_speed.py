"""The comparison of speed runs, on a small network, and its row says what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from segment_anything import sam_model_registry

from benchmarks import speed, speed_pipeline, speed_procedures, speed_weights
from benchmarks.speed_procedures import gflops, measure_end_to_end, read_example
from tests.small_sam import build_small_sam
from uosam.backends.sam import backend as sam
from uosam.backends.sam.backend import SamBackend
from uosam.config import load_config
from uosam.stages.proposals import grid_points, point_prompts


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a narrow network in the place of the models, and run everything in this process."""

    def build(checkpoint: str | None = None):
        network = build_small_sam()
        if checkpoint:
            network.load_state_dict(torch.load(checkpoint, weights_only=True))
        return network

    monkeypatch.setattr(sam, "BUILDERS", {"vit_b": build})
    monkeypatch.setattr(speed_weights, "BUILDERS", {"vit_b": build})
    monkeypatch.setattr(speed_procedures, "BUILDERS", {"vit_b": build})
    monkeypatch.setitem(sam_model_registry, "vit_b", build)
    monkeypatch.setattr(speed_pipeline, "in_process", lambda function, *given: function(*given))
    monkeypatch.setattr(speed_pipeline, "gflops", lambda dtype: gflops(dtype, side=64, repeats=1))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_small")
def test_a_row_compares_the_procedures() -> None:
    every = [name for name in speed_pipeline.ALL if name != "default"]
    result = speed_pipeline.pipeline(only=every, repeats=1, grid=2, script_grid=2)
    assert result["default_end_to_end"] is None
    (row,) = result["pictures"]
    assert row["objects"] == 3
    procedures = row["procedures"]
    assert set(procedures) == {
        "script",
        "uosam",
        "uosam_bfloat16",
        "uosam_band",
        "samrefiner",
        "ssa",
    }
    script = procedures["script"]
    assert script["prompts"] == 2 * 3 + 4 + 4
    assert script["measured_share"] == 14 / (6 + 8192)
    encode = script["stages"]["encode"]
    assert script["seconds_whole"] == pytest.approx(
        encode + (script["seconds"] - encode) * (6 + 8192) / 14
    )
    assert script["seconds_with_reloads"] > script["seconds_whole"]
    assert procedures["ssa"]["measured_share"] == 4 / 4096
    assert {"encode", "decode", "rest"} <= set(script["stages"])
    for name, entry in procedures.items():
        seconds = entry.get("seconds_whole", entry["seconds"])
        assert entry["times_faster"] == script["seconds_whole"] / seconds, name
        assert sum(entry["stages"].values()) == pytest.approx(entry["seconds"])
        assert entry["peak_mb"] > 0
    assert procedures["uosam"]["times_floor"] > 0
    # Three objects, decoded twice, and the points: arithmetic of the narrow encoder and so on.
    assert procedures["uosam"]["tflop"] < script["tflop"]
    assert 0 <= row["agreement"]["uosam_bfloat16"] <= 1
    json.dumps(result)
    parts = {"captions", "depth", "evaluation", "everything", "pipeline", "scoring", "student"}
    assert set(speed.PARTS) == parts


@pytest.mark.usefixtures("_small")
def test_ours_may_be_measured_alone() -> None:
    ours = ("uosam",)
    (row,) = speed_pipeline.pipeline(repeats=1, grid=2, only=ours)["pictures"]
    assert set(row["procedures"]) == set(ours)
    assert "times_faster" not in row["procedures"]["uosam"]


def test_the_default_settings_are_timed_from_file_to_file() -> None:
    found = measure_end_to_end("rocket", 1)
    assert found["model"] == load_config().backend.name
    assert found["seconds"] >= found["seconds_least"] > 0


def test_a_model_that_comes_with_the_package_keeps_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed_pipeline, "in_process", lambda function, *given: function(*given))
    monkeypatch.setattr(speed_pipeline, "gflops", lambda dtype: gflops(dtype, side=64, repeats=1))
    threads = torch.get_num_threads()
    only = ("uosam", "script")
    found = speed_pipeline.pipeline(model="tiny", only=only, repeats=1, grid=2, script_grid=2)
    torch.set_num_threads(threads)
    assert (found["model"], found["weights"]) == ("tiny", "trained")
    script = found["pictures"][0]["procedures"]["script"]
    assert script["model"] == "tiny"
    assert 0 < script["reload_seconds"] < 60
    assert found["pictures"][0]["procedures"]["uosam"]["times_faster"] > 1


@pytest.mark.usefixtures("_small")
def test_half_of_the_answers_of_seeded_weights_pass() -> None:
    picture, _ = read_example("astronaut")
    network = speed_weights.build_seeded("vit_b", picture)
    backend = SamBackend(sam=network, device=torch.device("cpu"))
    embedding = backend.embed(picture)
    (prompts,) = point_prompts(grid_points(picture.shape[:2], 5))
    found = backend.decode(embedding, prompts, min_score=0.86, min_stability=0.92)
    assert 0.3 < len(found) / (3 * len(prompts)) < 0.7

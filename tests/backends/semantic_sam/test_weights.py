"""A weights file is taken whole or refused in one line that says what is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.golden_semantic_sam import picture, small_network
from uosam.backends.semantic_sam import weights
from uosam.backends.semantic_sam.backend import SemanticSamBackend, load
from uosam.backends.semantic_sam.network import SIZES, SemanticSam, Size
from uosam.backends.semantic_sam.weights import DROPPED, PREFIX, aliases, fill
from uosam.backends.weights.fetch import fetch
from uosam.errors import BackendError

PATH = Path("file.pth")
NAME = "semantic_sam_t"
SMALL = Size(width=32, depths=(1, 2, 1, 1), heads=(1, 2, 4, 8), window=4)


@pytest.fixture(scope="module")
def values() -> dict[str, torch.Tensor]:
    return small_network().state_dict()


@pytest.fixture
def content(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a public file of the small network would hold."""
    whole = values | {other: values[own].clone() for other, own in aliases(values).items()}
    whole |= {key: torch.zeros(shape) for key, shape in DROPPED.items()}
    return {PREFIX + key: value for key, value in whole.items()}


def empty() -> SemanticSam:
    with torch.device("meta"):
        return SemanticSam(SMALL, encoder_layers=1, decoder_layers=2)


def test_a_plain_file_fills_the_network(content, values) -> None:
    network = empty()
    fill(network, content, PATH, NAME)
    assert not network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, values[key])
        assert not value.requires_grad


@pytest.mark.parametrize("weight", [True, False])
def test_a_training_checkpoint_gives_its_model_and_says_what_it_leaves(
    content, weight, caplog
) -> None:
    if weight:
        content[f"{PREFIX}criterion.empty_weight"] = torch.ones(2)
    with caplog.at_level(logging.INFO):
        fill(empty(), {"model": content, "optimizer": {"lr": 1}, "iteration": 3}, PATH, NAME)
    assert "iteration, optimizer left unread" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("backbone.norm0.weight", None, r"but it lacks 1 \(backbone\.norm0\.weight\)"),
        ("backbone.norm9.weight", torch.ones(3), r"unknown to it: 1 \(backbone\.norm9\.weight\)"),
        ("backbone.norm0.weight", torch.ones(3), r"another shape: 1 \(backbone\.norm0\.weight\)"),
        ("criterion.empty_weight", torch.ones(3), "another shape: 1"),
        ("sem_seg_head.predictor.class_embed", torch.ones(3), "another shape: 1"),
        ("sem_seg_head.predictor.class_embed", None, "it lacks 1"),
        (
            "sem_seg_head.predictor.decoder.norm.weight",
            torch.zeros(256),
            r"one tensor under \S+decoder\.norm\.weight and \S+decoder_norm\.weight, got two",
        ),
        (
            "backbone.layers.0.blocks.0.attn.relative_position_index",
            torch.zeros(16, 16, dtype=torch.int64),
            "must be the table of places in a window of 4",
        ),
        ("backbone.norm0.weight", "text", r"tensors alone, got others under backbone\.norm0"),
        (
            "backbone.patch_embed.proj.weight",
            torch.zeros(192, 3, 4, 4),
            "got those of semantic_sam_l; use --model semantic_sam_l",
        ),
    ],
)
def test_a_wrong_tensor_is_named(content, key, value, message) -> None:
    if value is None:
        del content[PREFIX + key]
    else:
        content[PREFIX + key] = value
    with pytest.raises(BackendError, match=message) as caught:
        fill(empty(), content, PATH, NAME)
    assert "\n" not in str(caught.value)


def test_names_without_the_prefix_are_listed(content) -> None:
    content["ema.decay"] = torch.ones(1)
    with pytest.raises(
        BackendError, match=r"begin with 'model\.', got 1 that do not \(ema\.decay\)"
    ):
        fill(empty(), content, PATH, NAME)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "as a dict of tensors, got list"),
        ({}, "got an empty one"),
        ({"model": {}}, "got an empty one"),
        ({"model": {"model.a": torch.ones(1)}, "teacher": 1}, "beside it at most .* got teacher"),
    ],
)
def test_what_is_no_such_file_is_refused(wrong, message) -> None:
    with pytest.raises(BackendError, match=message):
        fill(empty(), wrong, PATH, NAME)


def test_a_file_on_disk_becomes_a_backend(content, tmp_path, monkeypatch) -> None:
    from uosam.backends import BackendOptions, weights_digest

    monkeypatch.setitem(SIZES, NAME, SMALL)
    monkeypatch.setattr(
        weights, "SemanticSam", lambda size: SemanticSam(size, encoder_layers=1, decoder_layers=2)
    )
    path = tmp_path / "small.pth"
    torch.save({"model": content, "optimizer": {"state": {0: torch.ones(2)}}}, path)
    options = BackendOptions(
        name=NAME, checkpoint=str(path), device="cpu", side=64, order="area", batch_size=3
    )
    backend = load(options)
    assert (backend.side, backend.order, backend.batch_size, backend.name) == (64, "area", 3, NAME)
    assert len(weights_digest(options)) == 64
    other = SemanticSamBackend(network=small_network(), device=torch.device("cpu"), side=64)
    found, expected = backend.embed(picture(64, 64)), other.embed(picture(64, 64))
    assert (found.features == expected.features).all()


def test_a_cut_file_is_refused(tmp_path) -> None:
    from uosam.backends import BackendOptions

    path = tmp_path / "cut.pth"
    torch.save({"model": {"model.a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(BackendError, match="damaged or truncated"):
        load(BackendOptions(name=NAME, checkpoint=str(path)))


@pytest.mark.parametrize("name", list(SIZES))
def test_nothing_is_fetched_that_cannot_be_checked(name) -> None:
    with pytest.raises(BackendError, match=r"are not known here.*get it from https://\S+\.pth and"):
        fetch(name)


def test_a_missing_file_says_where_it_is(tmp_path, monkeypatch) -> None:
    from uosam.backends import BackendOptions

    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path))
    with pytest.raises(BackendError, match=r"weights file swint_\S+, .*get it from https"):
        load(BackendOptions(name=NAME))

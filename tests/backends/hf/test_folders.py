"""Folders of transformers checkpoints that load, and those that are refused."""

import json
import sys

import pytest
import torch

from tests.backends.hf.test_backend import SIDE, build, sam2_parts, transformers
from uosam.backends import BackendOptions
from uosam.backends.hf.backend import load
from uosam.errors import BackendError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    build("sam")[0].save_pretrained(folder)
    return folder


def attempt(folder):
    return load(BackendOptions(name="hf", checkpoint=folder and str(folder), device="cpu"))


def test_folders_that_do_not_serve(sam, tmp_path):
    with pytest.raises(BackendError, match=r"hf needs the local folder .* got none; give --check"):
        attempt(None)
    with pytest.raises(BackendError, match="as save_pretrained writes it, got FileNotFoundError"):
        attempt(tmp_path / "none")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BackendError, match="as save_pretrained writes it, got AttributeError"):
        attempt(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackendError, match=r"network of type sam, sam_hq, sam2, .*got 'bert'"):
        attempt(tmp_path)
    (tmp_path / "config.json").write_text((sam / "config.json").read_text())
    with pytest.raises(BackendError, match="must hold the weights of SAM, got OSError: "):
        attempt(tmp_path)


class Bomb:
    def __reduce__(self):
        return (exec, ("open('exploded', 'w').close()",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_bomb_is_refused(sam, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text((sam / "config.json").read_text())
    torch.save({"shared_image_embedding.positional_embedding": Bomb()}, tmp_path / name)
    with pytest.raises(BackendError, match=r"must hold the weights of SAM, got|asks to run"):
        attempt(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_plain_pickled_weights_serve(sam, tmp_path):
    network = attempt(sam).network
    (tmp_path / "config.json").write_text((sam / "config.json").read_text())
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    loaded = attempt(tmp_path).network.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(loaded[key], value), key


def test_missing_weights_are_listed(sam, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in sam.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackendError, match=r"but 1 are missing \(mask_decoder.iou_token.weight\)"):
        attempt(tmp_path)


def test_a_video_folder_of_sam2_serves(tmp_path):
    """The published folders of SAM 2 hold the video model, memory and all."""
    parts = sam2_parts() | {
        "prompt_encoder_config": transformers.Sam2VideoPromptEncoderConfig(
            hidden_size=32, image_size=SIDE, patch_size=16
        ),
        "mask_decoder_config": transformers.Sam2VideoMaskDecoderConfig(
            hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
        ),
    }
    config = transformers.Sam2VideoConfig(
        **parts, memory_attention_hidden_size=32, memory_encoder_hidden_size=32, image_size=SIDE
    )
    torch.manual_seed(0)
    video = transformers.Sam2VideoModel(config)
    video.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam2_video"
    backend = attempt(tmp_path)
    assert backend.family.title == "SAM 2"
    expected, actual = video.state_dict(), backend.network.state_dict()
    assert len(actual) < len(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in actual)


def test_without_the_extra(sam, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackendError, match=r"needs the package transformers with SamModel, which"):
        attempt(sam)

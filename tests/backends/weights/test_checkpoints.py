import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything.build_sam import build_sam_vit_b

from uosam.backends import BackendOptions, load_backend, models, weights_digest
from uosam.backends.models import MODELS, model_directory
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.backends.weights import checkpoints
from uosam.backends.weights.checkpoints import (
    digests,
    file_digest,
    find_checkpoint,
    load_weights,
    read_state_dict,
)
from uosam.errors import BackendError, ConfigError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture(scope="module")
def tiny():
    """A file of five numbers, as torch saves it."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(4.0), "bias": torch.ones(1)}, buffer)
    return buffer.getvalue()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_cache_is_where_the_platform_has_it_or_where_the_user_says(monkeypatch, cache):
    assert model_directory() == cache
    monkeypatch.delenv("UOSAM_CACHE")
    monkeypatch.setattr(models.platformdirs, "user_cache_dir", lambda *a, **k: "/c/uosam")
    assert str(model_directory()) == "/c/uosam/models"


def test_the_given_file_goes_before_the_cache(cache, tmp_path):
    in_cache = write(cache / "sam_vit_b_01ec64.pth", b"1")
    given = write(tmp_path / "given.pth", b"2")
    assert find_checkpoint("vit_b", None) == in_cache
    assert find_checkpoint("vit_b", str(given)) == given


def test_a_missing_file_says_where_it_was_looked_for(cache, tmp_path):
    place = cache / "sam_vit_b_01ec64.pth"
    with pytest.raises(
        BackendError,
        match=f"vit_b needs its weights file sam_vit_b_01ec64.pth, found nothing at {place}; get "
        "it with 'uosam models fetch vit_b', or give your own with --checkpoint FILE",
    ):
        load_backend(BackendOptions(name="vit_b"))
    with pytest.raises(BackendError, match=f"found a folder at {tmp_path}"):
        find_checkpoint("vit_b", str(tmp_path))


@pytest.mark.parametrize("name", ["tiny", "vit_b"])
def test_a_mistyped_checkpoint_is_about_the_path(cache, name):
    with pytest.raises(BackendError) as caught:
        find_checkpoint(name, "nosuch.pth")
    text = str(caught.value)
    assert text.startswith(
        f"--checkpoint must be a weights file for {name}, found nothing at nosuch"
    )
    assert "check the path" in text
    assert "install uosam again" not in text
    assert ("comes with uosam" in text) == (name == "tiny")


def test_models_without_a_file_or_name():
    with pytest.raises(BackendError, match="graphcut needs no weights file; use it as it is"):
        find_checkpoint("graphcut", None)
    with pytest.raises(ConfigError, match="unknown model 'vit_bb'; did you mean 'vit_b'"):
        find_checkpoint("vit_bb", None)


def test_zero_bytes(tmp_path):
    path = write(tmp_path / "empty.pth", b"")
    with pytest.raises(BackendError, match=r"empty\.pth must hold the weights of vit_b, got 0 byt"):
        load_backend(BackendOptions(name="vit_b", checkpoint=str(path)))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, tiny, keep):
    path = write(tmp_path / "cut.pth", tiny[: int(keep * len(tiny))])
    with pytest.raises(BackendError, match=r"cut\.pth must be a torch checkpoint, got a .*fetch"):
        load_backend(BackendOptions(name="vit_b", checkpoint=str(path)))


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>not found</html>",
        b"\x00" * 100,
        b"version https://git-lfs.github.com/spec/v1\n",
        archive(readme="nothing here"),
        pickle.dumps({"a": 1}),
    ],
    ids=["html", "zeros", "lfs pointer", "another zip", "plain pickle"],
)
def test_no_checkpoint(tmp_path, content):
    path = write(tmp_path / "other.pth", content)
    with pytest.raises(
        BackendError, match=r"other\.pth must .* got .*; or leave out --che"
    ) as caught:
        read_state_dict(path, "vit_b")
    assert "delete" not in str(caught.value)


class Bomb:
    """Leaves a trace when it is unpickled by a reader that runs what a file asks for."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("new_format", [True, False])
def test_malicious_file_is_refused_and_not_run(tmp_path, new_format):
    path, trace = tmp_path / "bomb.pth", tmp_path / "trace"
    torch.save({"weight": torch.ones(2), "bomb": Bomb(trace)}, path,
               _use_new_zipfile_serialization=new_format)  # fmt: skip
    with pytest.raises(BackendError, match=r"asks to run (_io|io)\.open, which no"):
        load_backend(BackendOptions(name="vit_b", checkpoint=str(path)))
    assert not trace.exists()
    torch.load(path, weights_only=False)["bomb"].close()
    assert trace.exists(), "the bomb is a dud"


def test_content_that_is_no_state_dict(tmp_path):
    path = tmp_path / "trained.pth"
    torch.save({"model": {}, "optimizer": {}, "epoch": 3, "args": 1}, path)
    with pytest.raises(
        BackendError, match=r"tensors by name of vit_b, alone or .* got args, epoch, model, \.\.\.;"
    ):
        read_state_dict(path, "vit_b")
    torch.save([torch.ones(1)], path)
    with pytest.raises(BackendError, match=r"must hold tensors by name of vit_b, .* got a list;"):
        read_state_dict(path, "vit_b")


def test_only_a_file_that_uosam_put_there_may_be_deleted(cache):
    path = write(cache / "sam_vit_b_01ec64.pth", b"junk")
    with pytest.raises(BackendError, match="; delete it and get it with 'uosam models fetch vit_"):
        read_state_dict(path, "vit_b")


@pytest.fixture(scope="module")
def own():
    """The tensors of the embedded network."""
    return load_file(models.weights_path(MODELS["tiny"]))


WAYS = {
    "module.pth": lambda state: {f"module.{key}": value for key, value in state.items()},
    "model.pth": lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": 3},
    "lightning.ckpt": lambda state: {
        "state_dict": {f"model.{key}": value for key, value in state.items()},
        "hyper_parameters": {"lr": 1e-4},
        "pytorch-lightning_version": "2.5",
    },
    "epoch.pth": lambda state: {**state, "epoch": 3},
    "deep.pth": lambda state: {
        "model": {"state_dict": {f"net.sam.{k}": v for k, v in state.items()}}
    },
    "torch_named.safetensors": lambda state: state,
    "heads.pth": lambda state: {**state, "head.weight": torch.ones(3, 3)},
    "ours.pt": lambda state: {
        "step": 1, "options": {}, "sam": {"x": torch.ones(1)}, "average": state, "optimizer": {},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [*WAYS, "safe_named.pth"])
def test_weights_as_training_code_leaves_them(tmp_path, own, name, caplog):
    path = tmp_path / name
    if name in WAYS:
        torch.save(WAYS[name](own), path)
    else:
        save_file(own, path)
    with torch.device("meta"):
        network = build_sam_tiny()
    load_weights(network, read_state_dict(path, "tiny"), path, "tiny")
    for key, value in network.state_dict().items():
        assert torch.equal(value, own[key].float() if value.is_floating_point() else own[key])
    warned = "1 tensors not used: head.weight" in caplog.text
    assert warned == (name == "heads.pth")


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("mask_decoder.hf_token.weight", "SAM-HQ"),
        ("image_encoder.trunk.pos_embed", "SAM 2"),
        ("vision_encoder.pos_embed", "SAM of transformers"),
        ("vision_encoder.backbone.pos_embed", "SAM 2 of transformers"),
        ("sem_seg_head.predictor.query_feat.weight", "Semantic-SAM"),
    ],
)
def test_other_networks_are_called_by_their_names(tmp_path, own, key, title):
    state = {**own, key: torch.zeros(1)} if title == "SAM-HQ" else {key: torch.zeros(1)}
    path = tmp_path / "other.pt"
    torch.save({"model": state}, path)
    with pytest.raises(
        BackendError, match=f"got a {title}, which is another .*--model (hf|semantic_sam_t)"
    ) as caught:
        load_backend(BackendOptions(name="tiny", checkpoint=str(path)))
    assert "delete" not in str(caught.value)


@pytest.fixture(scope="module")
def meta():
    with torch.device("meta"):
        return build_sam_vit_b()


def test_file_of_another_model(meta, tmp_path):
    state = dict(meta.state_dict())
    state["image_encoder.pos_embed"] = torch.empty(1, 64, 64, 1280, device="meta")
    with pytest.raises(
        BackendError,
        match=r"must hold the 314 tensors of vit_b, got 1 of another shape "
        r"\(image_encoder.pos_embed\); the file looks like vit_h: use --model vit_h, or get it "
        "with 'uosam models fetch vit_b'",
    ):
        load_weights(meta, state, tmp_path, "vit_b")


def test_names_that_do_not_agree(meta, tmp_path):
    state = {f"x.{key}.y": value for key, value in meta.state_dict().items()}
    with pytest.raises(
        BackendError,
        match=r"314 missing \(image_encoder.*, \.\.\.\), 314 unexpected \(x.*another network",
    ):
        load_weights(meta, state, tmp_path, "vit_b")
    with pytest.raises(BackendError, match="looks like vit_t"):
        load_weights(
            meta, {"image_encoder.patch_embed.seq.0.c.weight": torch.ones(1)}, tmp_path, "vit_b"
        )


def test_weights_are_float32_whatever_the_file_holds(tmp_path):
    with torch.device("meta"):
        module = torch.nn.BatchNorm1d(3)
    state = {key: value.half() if value.is_floating_point() else value
             for key, value in torch.nn.BatchNorm1d(3).state_dict().items()}  # fmt: skip
    load_weights(module, state, tmp_path, "vit_b")
    assert {key: value.dtype for key, value in module.state_dict().items()} == {
        "weight": torch.float32, "bias": torch.float32, "running_mean": torch.float32,
        "running_var": torch.float32, "num_batches_tracked": torch.int64,
    }  # fmt: skip
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_digests(tmp_path):
    path = write(tmp_path / "abc", b"abc")
    assert digests(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "900150983cd24fb0d6963f7d28e17f72",
    )


def test_a_digest_is_read_again_only_if_the_file_changed(tmp_path, monkeypatch):
    path = write(tmp_path / "file", b"one")
    reads = []
    monkeypatch.setattr(checkpoints, "digests", lambda p: reads.append(p) or digests(p))
    first = file_digest(path)
    assert file_digest(path) == first == digests(path)[0]
    assert len(reads) == 1
    write(path, b"other")
    assert file_digest(path) != first


def test_weights_digest(cache, tmp_path):
    given = write(tmp_path / "given.pth", b"given")
    assert weights_digest(BackendOptions(name="graphcut")) == "none"
    assert weights_digest(BackendOptions(name="mylab.sam3:load")) == "none"
    for name in ("vit_b", "mylab.sam3:load"):
        options = BackendOptions(name=name, checkpoint=str(given))
        assert weights_digest(options) == digests(given)[0]
    write(cache / "sam_vit_b_01ec64.pth", b"cached")
    assert weights_digest(BackendOptions(name="vit_b")) == digests(cache / MODELS["vit_b"].file)[0]
    with pytest.raises(BackendError, match="found nothing at"):
        weights_digest(BackendOptions(name="vit_h"))
    with pytest.raises(
        BackendError, match=r"must be a weights file for mylab\.sam3:load, found noth"
    ):
        weights_digest(BackendOptions(name="mylab.sam3:load", checkpoint=str(tmp_path / "no")))


def test_every_model_has_a_backend():
    from uosam.backends import BACKENDS

    # A folder of transformers may hold any network: there is nothing to list of it.
    assert set(MODELS) == set(BACKENDS)


def test_a_damaged_safetensors_file_is_one_line(tmp_path):
    path = write(tmp_path / "some.safetensors", b"12345678 no header")
    with pytest.raises(
        BackendError, match=r"safetensors file, got a damaged .*for tiny comes with"
    ):
        read_state_dict(path, "tiny")


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({"weight": torch.arange(4.0).half()}, path)
    assert torch.equal(read_state_dict(path, "tiny")["weight"], torch.arange(4.0).half())


def test_weights_of_the_package_are_not_in_the_cache(monkeypatch):
    path = models.weights_path(MODELS["tiny"])
    assert path.parent == Path(models.__file__).parent / "sam"
    monkeypatch.setattr(models, "__file__", "/nowhere/models.py")
    with pytest.raises(
        BackendError, match=r"found nothing at /nowhere/sam/tiny.*install uosam again"
    ):
        find_checkpoint("tiny", None)


def test_the_tiny_model_is_recognised(meta, tmp_path):
    with pytest.raises(BackendError, match="looks like tiny"):
        load_weights(
            meta, {"image_encoder.backbone.stem.0.weight": torch.ones(1)}, tmp_path, "vit_b"
        )
    with pytest.raises(BackendError, match=r"tiny of uosam 0\.1"):
        load_weights(meta, {"image_encoder.stages.0.0.0.weight": torch.ones(1)}, tmp_path, "tiny")

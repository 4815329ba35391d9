"""Image-text folders are read, and score pictures and words as the public code does."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_folders
from uosam.backends.text import image_text
from uosam.errors import BackendError
from uosam.io.images import read_image


def test_the_templates_are_those_of_the_paper(shared: Path) -> None:
    golden = json.loads((shared / "golden/sad/ovseg.json").read_text())
    digest = hashlib.sha256("\n".join(image_text.TEMPLATES).encode()).hexdigest()
    assert digest in golden.values()


def test_clip_answers_as_published(shared: Path) -> None:
    folder = shared / "golden/ssa"
    golden = json.loads((folder / "clip.json").read_text())
    model = image_text.load(folder / "models/clip", device="cpu", templates=["{}"], batch_size=2)
    picture = read_image(folder / "picture.png")
    crops = [picture[y0:y1, x0:x1] for x0, y0, x1, y1 in golden["crops"].values()]
    logits = model.scale * model.embed_images(crops) @ model.embed_texts(golden["names"]).T
    expected = [golden["results"][name.split("_")[0]]["logits"] for name in golden["crops"]]
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert model.scale == pytest.approx(golden["logit_scale_exp"])
    assert model.colour == (123, 117, 104)
    assert not model.exclusive


def test_a_word_is_the_mean_of_its_sentences(shared: Path) -> None:
    folder = shared / "golden/ssa/models/clip"
    both = image_text.load(folder, device="cpu", templates=["a {}", "one {}"])
    parts = [
        image_text.load(folder, device="cpu", templates=[template]).embed_texts(["dog"])[0]
        for template in both.templates
    ]
    mean = (parts[0] + parts[1]) / 2
    np.testing.assert_allclose(
        both.embed_texts(["cat", "dog"])[1], mean / np.linalg.norm(mean), atol=1e-6
    )


def test_siglip_reads_lower_case_in_64_tokens(tmp_path: Path) -> None:
    model = image_text.load(tiny_folders.siglip(tmp_path), device="cpu")
    assert model.templates == image_text.SENTENCE
    upper, lower = model.embed_texts(["Dog", "dog"])
    np.testing.assert_array_equal(upper, lower)
    longest = []
    network = model.network.get_text_features
    model.network.get_text_features = lambda **inputs: (
        longest.append(inputs["input_ids"].shape[1]),
        network(**inputs),
    )[1]
    model.embed_texts(["dog"])
    assert longest == [64]
    rows = model.embed_images([np.full((9, 9, 3), grey, np.uint8) for grey in (0, 200)])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert model.embed_images([]).shape[0] == 0


def test_a_batch_that_does_not_fit_is_halved(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = image_text.load(shared / "golden/ssa/models/clip", device="cpu", templates=["{}"])
    whole = model.embed_texts(["dog", "cat", "bed"])
    network = model.network.get_text_features
    sizes = []

    def at_most_one(**inputs: np.ndarray) -> object:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise RuntimeError("out of memory")
        return network(**inputs)

    monkeypatch.setattr(model.network, "get_text_features", at_most_one)
    np.testing.assert_allclose(model.embed_texts(["dog", "cat", "bed"]), whole, atol=1e-6)
    assert sizes == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("said", "told"), [("out of memory", "not enough memory on cpu"), ("a bug", "^a bug$")]
)
def test_one_text_that_does_not_fit(
    shared: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    model = image_text.load(shared / "golden/ssa/models/clip", device="cpu")

    def fail(**inputs: object) -> object:
        raise RuntimeError(said)

    monkeypatch.setattr(model.network, "get_text_features", fail)
    with pytest.raises(RuntimeError, match=told) as caught:
        model.embed_texts(["dog"])
    assert isinstance(caught.value, BackendError) == (said != "a bug")


def test_folders_that_are_refused(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(BackendError, match="expected the folder of an image-text model, found"):
        image_text.load(tmp_path / "nowhere")
    with pytest.raises(BackendError, match=r"must hold config\.json"):
        image_text.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"as \.safetensors, found none"):
        image_text.load(tmp_path)
    with pytest.raises(BackendError, match=r"image-text model \(clip, .*got 'segformer'"):
        image_text.load(shared / "golden/ssa/models/segformer")
    whole = shared / "golden/ssa/models/clip"
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BackendError, match="with all its files, got"):
        image_text.load(broken)
    shutil.copy(whole / "model.safetensors", broken)
    (broken / "tokenizer.json").unlink()
    (broken / "processor_config.json").unlink()
    with pytest.raises(BackendError, match="with all its files, got"):
        image_text.load(broken)


def test_missing_weights_are_named(tmp_path: Path, shared: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(shared / "golden/ssa/models/clip", tmp_path / "clip")
    weights = load_file(tmp_path / "clip/model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "clip/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackendError, match=r"1 are missing \(visual_projection\.weight\)"):
        image_text.load(tmp_path / "clip")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(BackendError, match=r"pip install 'uosam\[hf\]'"):
        image_text.load(shared / "golden/ssa/models/clip")

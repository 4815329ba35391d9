import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from uosam.backends.student.files import pack, read_student
from uosam.backends.student.header import KIND, Facts, read_facts
from uosam.backends.student.model import load
from uosam.errors import BackendError, InputError
from uosam.runs.coarse_models import describe_model

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")

from uosam.backends.student.network import Student, blank_encoder

FACTS = Facts(classes=4, side=64, background=None, codec="index8")


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Student(blank_encoder(), 4).eval()


@pytest.fixture
def file(student, tmp_path):
    path = tmp_path / "student.safetensors"
    path.write_bytes(pack(student, FACTS))
    return path


def test_a_file_answers_as_what_was_packed(student, file):
    again, facts = read_student(file)
    assert facts == FACTS == read_facts(file)
    assert pack(again, facts) == file.read_bytes()
    pixels = torch.randint(0, 255, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        logits = student(pixels)
        assert logits.shape == (2, 4, 16, 24)
        assert torch.equal(logits, again(pixels))
        # Pictures of a batch do not see each other.
        torch.testing.assert_close(logits[1:], student(pixels[1:]), atol=1e-5, rtol=1e-4)


def test_scores_are_probabilities_and_know_left_from_right_as_well_as_mirrored(file):
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    score = load(file, device="cpu")
    scores = score(image)
    assert scores.shape == (4, 50, 70)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-5)
    mirrored = score(image[:, ::-1])
    np.testing.assert_allclose(mirrored[:, :, ::-1], scores, atol=0.05)
    assert load(file, side=96, flip=False, device="cpu")(image).shape == (4, 50, 70)
    with pytest.raises(InputError, match=r"\(H, W, 3\)"):
        score(image[..., 0])


def test_norms_of_the_encoder_stay_as_they_were(student):
    student.train()
    before = student.encoder.norm.running_mean.clone()
    student(torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8))
    assert torch.equal(before, student.encoder.norm.running_mean)
    student.eval()


def test_what_its_masks_look_like(student, tmp_path, file):
    assert describe_model("student", {}, str(file)).background is None
    path = tmp_path / "pass.safetensors"
    path.write_bytes(pack(student, Facts(classes=4, side=64, background=0, codec="luss")))
    facts = describe_model("student", {}, str(path))
    assert (facts.background, facts.codec) == (0, "luss")


def test_what_is_no_student(tmp_path, file):
    path = tmp_path / "other.safetensors"
    with pytest.raises(BackendError, match="must be weights of a student, got FileNotFoundError"):
        load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(BackendError, match="must be weights of a student, got SafetensorError"):
        load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(BackendError, match="must be weights of a student, got another file"):
        load(path)
    wrong = {"classes": 10**9, "side": 64, "background": None, "codec": "index8"}
    save_file({"a": torch.zeros(1)}, path, {KIND: json.dumps(wrong)})
    with pytest.raises(BackendError, match="must be weights of a student, got ValueError"):
        load(path)
    right = {**wrong, "classes": 4}
    save_file({"a": torch.zeros(1)}, path, {KIND: json.dumps(right)})
    with pytest.raises(BackendError, match=r"lacks [0-9]+ of [0-9]+ tensors"):
        load(path)
    path.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(BackendError, match=r"must be (weights of a student|whole)"):
        load(path)

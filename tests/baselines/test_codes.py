"""CAUSE, STEGO and SmooSeg against what their public programs computed on seeded weights."""

import importlib.util
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from uosam.baselines.codes import CodeModel, by_cosine, guide_by_dividing, guide_by_multiplying
from uosam.baselines.pictures import NEAREST, centre_start, normalise, resize_short_side

from tests.golden import agree, close, crc, picture, uss_state
from uosam.baselines import cause, dense_crf, smooseg, stego

CPU = torch.device("cpu")
HAS_CRF = importlib.util.find_spec("pydensecrf") is not None


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def centre_square(image):
    resized = resize_short_side(image, 320, NEAREST)
    top, left = (centre_start(side, 320) for side in resized.shape[:2])
    return resized[top : top + 320, left : left + 320]


def remembering(function):
    """A function that computes nothing twice: a view of the transformer takes seconds."""
    known = {}

    def remembered(pixels):
        key = crc(pixels.numpy())
        if key not in known:
            known[key] = function(pixels)
        return known[key]

    return remembered


class Golden:
    """The files of one model, and what its public program computed."""

    def __init__(self, shared, name, tmp):
        self.folder = shared / "golden" / "uss" / name
        self.tmp = tmp
        self.expected = np.load(self.folder / "expected.npz")

    def state(self, file=None):
        return uss_state(self.folder, file=file)

    def save(self, name, content, zipped=True):
        path = self.tmp / name
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    def pixels(self, image):
        assert crc(image) == self.expected["input_crc32"][0]
        pixels = normalise(centre_square(image), CPU)
        np.testing.assert_allclose(
            pixels[0, :, ::16, ::16], self.expected["net_input_sub"], rtol=0, atol=1e-6
        )
        return pixels

    def close(self, name, actual):
        close(np.asarray(actual), self.expected[name])

    def agree(self, name, actual, share=0.999):
        agree(np.asarray(actual), self.expected[name], share)


def lightning(state):
    return {"epoch": 5, "global_step": 9, "state_dict": state, "optimizer_states": [{}, {}, {}],
            "hyper_parameters": {"n_classes": 27}}  # fmt: skip


@pytest.fixture(scope="module")
def stego_golden(shared, tmp_path_factory):
    golden = Golden(shared, "stego", tmp_path_factory.mktemp("stego"))
    golden.save("model.ckpt", lightning(golden.state()))
    return golden


def load_stego(golden, **options):
    model = stego.load(golden.tmp / "model.ckpt", **options)
    golden.features = getattr(golden, "features", None) or remembering(model.features)
    return replace(model, features=golden.features)


def check_first_view(golden, model, pixels):
    with torch.inference_mode():
        features = model.features(pixels)
        golden.close("code_first_view_sub", model.head(features)[0, :, ::8, ::8])
    golden.close("feat_sub", features[0, ::8, ::4, ::4])
    golden.close("feat_mean", features[0].mean((1, 2)))


def test_stego_equals_the_public_program_in_one_view(stego_golden):
    pixels = stego_golden.pixels(picture((420, 300), 31, 30))
    check_first_view(stego_golden, load_stego(stego_golden), pixels)


@pytest.mark.slow
def test_stego_equals_the_public_program(stego_golden):
    golden = stego_golden
    model = load_stego(golden)
    pixels = golden.pixels(picture((420, 300), 31, 30))
    golden.close("code_sub", model.code(pixels)[0, :, ::4, ::4])
    scores = model.log_probabilities(pixels)[0].numpy()
    golden.close("cluster_log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label_cluster", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_multiplying(pixels))
        golden.agree("label_cluster_crf", sharpened.argmax(0), 0.995)


@pytest.mark.slow
def test_stego_linear_probe(stego_golden):
    golden = stego_golden
    model = load_stego(golden, probe="linear")
    pixels = golden.pixels(picture((420, 300), 31, 30))
    scores = model.log_probabilities(pixels)[0].numpy()
    golden.close("linear_log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label_linear", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_multiplying(pixels))
        golden.agree("label_linear_crf", sharpened.argmax(0), 0.995)


@pytest.fixture(scope="module")
def smooseg_golden(shared, tmp_path_factory):
    golden = Golden(shared, "smooseg", tmp_path_factory.mktemp("smooseg"))
    model = smooseg.load(golden.save("model.ckpt", lightning(golden.state())))
    return golden, replace(model, features=remembering(model.features))


def test_smooseg_equals_the_public_program_in_one_view(smooseg_golden):
    golden, model = smooseg_golden
    check_first_view(golden, model, golden.pixels(picture((300, 420), 41, 30)))


@pytest.mark.slow
def test_smooseg_equals_the_public_program(smooseg_golden):
    golden, model = smooseg_golden
    pixels = golden.pixels(picture((300, 420), 41, 30))
    golden.close("code_sub", model.code(pixels)[0, :, ::4, ::4])
    scores = model.log_probabilities(pixels)[0].numpy()
    golden.close("cluster_log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label_cluster", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_multiplying(pixels))
        golden.agree("label_cluster_crf", sharpened.argmax(0), 0.995)


def load_cause(golden, kind, **options):
    files = [f"segment_{kind}.pth", f"cluster_{kind}.pth", "dino_vit_small_8.pth"]
    paths = [golden.save(name, golden.state(name)) for name in files]
    return cause.load(paths[0], cluster=paths[1], backbone=paths[2], **options)


@pytest.fixture(scope="module", params=[("mlp", 21), ("tr", 22)], ids=["mlp", "tr"])
def cause_golden(request, shared, tmp_path_factory):
    """Golden files, model, whether it is the transformer head, and the pixels of one view."""
    kind, seed = request.param
    golden = Golden(shared, f"cause_{kind}", tmp_path_factory.mktemp(f"cause_{kind}"))
    model = load_cause(golden, kind)
    model = replace(model, features=remembering(model.features))
    return golden, model, kind == "tr", golden.pixels(picture((300, 420), seed, 30))


def tokens_of(features):
    return features.flatten(2).transpose(1, 2)[0]


def scores_of(model, code):
    enlarged = torch.nn.functional.interpolate(code, (320, 320), mode="bilinear")
    return model.classify(enlarged)[0].numpy()


def test_cause_equals_the_public_program_in_one_view(cause_golden):
    golden, model, transformer, pixels = cause_golden
    with torch.inference_mode():
        features = model.features(pixels)
        code = model.head(features)
        tokens = tokens_of(features)
        if transformer:
            golden.agree("codebook_index", model.head.quantise(tokens), 0.995)
            for name, value in zip("123", model.head.decode(tokens[None]), strict=True):
                golden.close(f"tr_norm{name}_sub", value[0, ::40, ::8])
    golden.close("feat_sub", tokens[::20, ::8])
    golden.close("feat_mean", tokens.mean(0))
    golden.close("head_sub", code[0].flatten(1).T[::20])
    golden.agree("label_no_flip", scores_of(model, code).argmax(0))


@pytest.mark.slow
def test_cause_equals_the_public_program(cause_golden):
    golden, model, transformer, pixels = cause_golden
    with torch.inference_mode():
        features, mirrored = model.features(pixels), model.features(pixels.flip(-1))
        first, second = model.head(features), model.head(mirrored)
    golden.close("feat_flip_sub", tokens_of(mirrored)[::40, ::8])
    code = (first + second.flip(-1)) / 2
    golden.close("code_sub", code[0, :, ::4, ::4])
    if transformer:
        golden.agree("codebook_index_flip", model.head.quantise(tokens_of(mirrored)), 0.995)
    scores = scores_of(model, code)
    golden.close("log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_dividing(pixels))
        golden.agree("label_crf", sharpened.argmax(0), 0.995)
    torch.testing.assert_close(model.code(pixels), code)


def test_two_views_are_averaged_where_they_show_the_same():
    """A head that adds up the pixels of a cell, against sums by hand."""
    pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(4.0)  # tells left from right, unlike a real network's pooling

    def features(seen):
        return torch.nn.functional.avg_pool2d(seen, 2) * ramp

    model = CodeModel(
        features=features, head=lambda grid: grid, classify=by_cosine(torch.eye(3), 2.0),
        flip=True, guide=None, device=CPU,
    )  # fmt: skip
    cells = pixels.numpy().reshape(1, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    expected = cells * (np.arange(4) + np.arange(4)[::-1]) / 2
    np.testing.assert_allclose(model.code(pixels).numpy(), expected, atol=1e-6)
    alone = replace(model, flip=False).code(pixels).numpy()
    np.testing.assert_allclose(alone, cells * np.arange(4), atol=1e-6)
    large = cv2.resize(expected[0].transpose(1, 2, 0), (8, 8), interpolation=cv2.INTER_LINEAR)
    logits = 2 * large / np.linalg.norm(large, axis=2, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    scores = model.log_probabilities(pixels)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(scores, logits, atol=1e-5)

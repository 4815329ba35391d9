"""CAUSE, STEGO and SmooSeg against what their public programs computed on seeded weights."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import agree, close, crc, picture, uss_state

from baselines import cause, dense_crf, smooseg, stego
from baselines.codes import guide_by_dividing, guide_by_multiplying
from baselines.pictures import NEAREST, centre_start, normalise, resize_short_side

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


def test_stego_equals_the_public_program(stego_golden):
    golden = stego_golden
    model = load_stego(golden)
    pixels = golden.pixels(picture((420, 300), 31, 30))
    with torch.inference_mode():
        features = model.features(pixels)
        golden.close("code_first_view_sub", model.head(features)[0, :, ::8, ::8])
    golden.close("feat_sub", features[0, ::8, ::4, ::4])
    golden.close("feat_mean", features[0].mean((1, 2)))
    golden.close("code_sub", model.code(pixels)[0, :, ::4, ::4])
    scores = model.log_probabilities(pixels)[0].numpy()
    golden.close("cluster_log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label_cluster", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_multiplying(pixels))
        golden.agree("label_cluster_crf", sharpened.argmax(0), 0.995)


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


def test_smooseg_equals_the_public_program(shared, tmp_path):
    golden = Golden(shared, "smooseg", tmp_path)
    model = smooseg.load(golden.save("model.ckpt", lightning(golden.state())))
    model = replace(model, features=remembering(model.features))
    pixels = golden.pixels(picture((300, 420), 41, 30))
    with torch.inference_mode():
        features = model.features(pixels)
        golden.close("code_first_view_sub", model.head(features)[0, :, ::8, ::8])
    golden.close("feat_sub", features[0, ::8, ::4, ::4])
    golden.close("feat_mean", features[0].mean((1, 2)))
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


@pytest.mark.parametrize(("kind", "seed"), [("mlp", 21), ("tr", 22)])
def test_cause_equals_the_public_program(shared, tmp_path, kind, seed):
    golden = Golden(shared, f"cause_{kind}", tmp_path)
    model = load_cause(golden, kind)
    model = replace(model, features=remembering(model.features))
    pixels = golden.pixels(picture((300, 420), seed, 30))
    with torch.inference_mode():
        features, mirrored = model.features(pixels), model.features(pixels.flip(-1))
        first, second = model.head(features), model.head(mirrored)
    tokens, mirrored_tokens = (f.flatten(2).transpose(1, 2)[0] for f in (features, mirrored))
    golden.close("feat_sub", tokens[::20, ::8])
    golden.close("feat_flip_sub", mirrored_tokens[::40, ::8])
    golden.close("feat_mean", tokens.mean(0))
    golden.close("head_sub", first[0].flatten(1).T[::20])
    code = (first + second.flip(-1)) / 2
    golden.close("code_sub", code[0, :, ::4, ::4])
    if kind == "tr":
        with torch.inference_mode():
            golden.agree("codebook_index", model.head.quantise(tokens), 0.995)
            golden.agree("codebook_index_flip", model.head.quantise(mirrored_tokens), 0.995)
            for name, value in zip("123", model.head.decode(tokens[None]), strict=True):
                golden.close(f"tr_norm{name}_sub", value[0, ::40, ::8])

    def scores_of(code):
        enlarged = torch.nn.functional.interpolate(code, (320, 320), mode="bilinear")
        return model.classify(enlarged)[0].numpy()

    golden.agree("label_no_flip", scores_of(first).argmax(0))
    scores = scores_of(code)
    golden.close("log_prob_sub", scores[:, ::16, ::16])
    golden.agree("label", scores.argmax(0))
    if HAS_CRF:
        sharpened = dense_crf.dense_crf(scores, guide_by_dividing(pixels))
        golden.agree("label_crf", sharpened.argmax(0), 0.995)
    torch.testing.assert_close(model.code(pixels), code)

"""MobileSAM against what its public code computes on seeded weights."""

import numpy as np
import pytest
import torch

from tests.golden import noise, plain_rule, read_keys
from uosam.backends import BackendOptions, load_backend
from uosam.backends.models import MODELS
from uosam.backends.sam.tiny_vit import _AttentionBlock, _WindowAttention, build_sam_vit_t
from uosam.structures import Prompts


def value(key, shape):
    if "attention_biases" in key:
        # The recorded run computed with the zeros the public code had before it loaded its file:
        # it renews its copy of the biases in eval(), which was not called again.
        return np.zeros(shape)
    if "positional_encoding_gaussian_matrix" in key:
        return noise(key, shape)
    if len(shape) <= 1 and "rel" in key:
        return noise(key, shape) * np.float32(0.1)
    return plain_rule(key, shape)


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden" / "mobile_sam"


@pytest.fixture(scope="module")
def backend(golden, tmp_path_factory):
    torch.set_num_threads(1)
    state = {
        row["key"]: torch.from_numpy(np.asarray(value(row["key"], row["shape"]), np.float32))
        if row["dtype"] == "float32"
        else torch.zeros(row["shape"], dtype=torch.int64)
        for row in read_keys(golden / "state_dict_keys.csv")
    }
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(state, path)
    return load_backend(BackendOptions(name="vit_t", checkpoint=str(path), device="cpu"))


def picture():
    y, x = np.mgrid[:384, :512]
    return np.stack(
        [x * 255 // 511, y * 255 // 383, (x // 32 + y // 32) % 2 * 255], axis=-1
    ).astype(np.uint8)


def test_keys_are_those_of_the_published_file(golden):
    with torch.device("meta"):
        state = build_sam_vit_t().state_dict()
    actual = [(key, tuple(tensor.shape), str(tensor.dtype)) for key, tensor in state.items()]
    expected = [
        (row["key"], row["shape"], f"torch.{row['dtype']}")
        for row in read_keys(golden / "state_dict_keys.csv")
    ]
    assert sorted(actual) == sorted(expected)
    parameters = sum(
        np.prod(shape) for key, shape, _ in actual
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked", "_matrix"))
    )  # fmt: skip
    assert parameters == MODELS["vit_t"].parameters


def test_equals_the_public_code(golden, backend):
    expected = np.load(golden / "expected.npz")
    embedding = backend.embed(picture())
    assert embedding.extent == (48.0, 64.0)
    features = embedding.features
    np.testing.assert_allclose(features[::16, ::8, ::8], expected["embedding_sub"], atol=1e-3)
    np.testing.assert_allclose(features.mean((1, 2)), expected["embedding_mean"], atol=1e-3)
    prompts = Prompts(
        points=np.array([[[200, 150], [20, 20]]], np.float32),
        point_labels=np.array([[1, 0]], np.int8),
        boxes=np.array([[100, 80, 300, 260]], np.float32),
        labels=np.zeros(1, np.int32),
    )
    proposals = backend.decode(embedding, prompts)
    np.testing.assert_allclose(proposals.scores, expected["iou"].clip(0, 1), atol=1e-3)
    np.testing.assert_allclose(
        proposals.logits[:, ::8, ::8], expected["low_res_logits_sub"], atol=1e-3
    )


def test_attention_biases_count_by_distance():
    """Attention written out token by token, for two heads in windows of 3 x 3."""
    torch.manual_seed(0)
    module = _WindowAttention(8, 2, 3).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(1, 9, 8)
    with torch.no_grad():
        rows = module.qkv(module.norm(tokens))[0].view(9, 2, 3, 4)
        expected = torch.zeros(9, 2, 4)
        for head in range(2):
            for i in range(9):
                weights = []
                for j in range(9):
                    dy, dx = abs(i // 3 - j // 3), abs(i % 3 - j % 3)
                    likeness = (rows[i, head, 0] @ rows[j, head, 1]) / 2
                    weights.append(likeness + module.attention_biases[head, dy * 3 + dx])
                shares = torch.softmax(torch.stack(weights), 0)
                expected[i, head] = shares @ rows[:, head, 2]
        torch.testing.assert_close(module(tokens)[0], module.proj(expected.reshape(9, 8)))


def test_grids_that_are_no_whole_windows_are_padded():
    """A token far from the padding sees what it would see in a larger grid of zeros."""
    torch.manual_seed(0)
    block = _AttentionBlock(8, 2, 3).eval()
    grid = torch.randn(2, 8, 4, 5)
    padded = torch.zeros(2, 8, 6, 6)
    padded[:, :, :4, :5] = grid
    with torch.no_grad():
        small, large = block(grid), block(padded)
    # The convolution across windows sees one cell further, where the padded grid is not zero.
    torch.testing.assert_close(small[:, :, :3, :4], large[:, :, :3, :4])
    assert small.shape == grid.shape

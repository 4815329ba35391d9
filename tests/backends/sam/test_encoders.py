"""Faster image encoders against the same encoders as they were built, on seeded weights."""

import copy
from pathlib import Path

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from tests.small_sam import build_small_sam
from uosam.backends.sam import encoders, relative_attention
from uosam.backends.sam.encoders import choose_attention, fold_norms, speed_up
from uosam.backends.sam.relative_attention import (
    RelativeAttention,
    attend_flexibly,
    attend_fused,
    attend_in_blocks,
)
from uosam.backends.sam.tiny import TinyEncoder
from uosam.backends.sam.tiny_vit import TinyViT
from uosam.errors import BackendError

CPU = torch.device("cpu")


def relative_error(actual, expected):
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def vit():
    """A windowed and a global block over 64 x 64 cells; all weights are drawn, positions too."""
    return build_small_sam().image_encoder.requires_grad_(False)


@pytest.fixture(scope="module")
def square():
    return torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(vit, square):
    return vit(square)


@pytest.mark.parametrize("pairs", [2**20, 2**18 + 5, 64 * 4096, 1], ids=str)
def test_attention_in_blocks_equals_the_published_encoder(
    vit, square, expected, pairs, monkeypatch
):
    monkeypatch.setattr(relative_attention, "_PAIRS", pairs)
    faster = copy.deepcopy(vit)
    speed_up(faster, CPU)
    assert [block.attn.attend for block in faster.blocks] == [attend_in_blocks] * 2
    assert relative_error(faster(square), expected) < 1e-5


@pytest.fixture(scope="module", params=[attend_in_blocks, attend_fused])
def faster(request, vit):
    """The encoder with the attention of a CPU, and with that of an accelerator."""
    other = copy.deepcopy(vit)
    speed_up(other, CPU)
    for block in other.blocks:
        block.attn.attend = request.param
    return other


def test_exchanged_attention_equals_the_published_encoder(faster, square, expected):
    assert relative_error(faster(square), expected) < 1e-5


def test_a_batch_of_grids(vit, faster):
    windows = torch.randn(3, 14, 14, 32, generator=torch.Generator().manual_seed(2))
    assert relative_error(faster.blocks[0].attn(windows), vit.blocks[0].attn(windows)) < 1e-5


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("block", "hw"), [(0, (14, 14)), (1, (9, 12))])
def test_positions_inside_the_kernel_equal_the_published_attention(vit, block, hw):
    cells = torch.randn(2, *hw, 32, generator=torch.Generator().manual_seed(3))
    expected = vit.blocks[block].attn(cells)
    attention = RelativeAttention(vit.blocks[block].attn, attend_flexibly)
    assert relative_error(attention(cells), expected) < 1e-5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attention(cells).float()
        published = vit.blocks[block].attn(cells).float()
    error = float((published - expected).square().mean())
    assert 0 < float((rough - expected).square().mean()) < 1.5 * error


@pytest.mark.slow  # compiles
def test_positions_inside_a_compiled_kernel_equal_the_published_attention(vit):
    attention = RelativeAttention(vit.blocks[0].attn, torch.compile(attend_flexibly))
    windows = torch.randn(3, 14, 14, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert relative_error(attention(windows), vit.blocks[0].attn(windows)) < 1e-5


def test_the_compiler_of_cuda_adds_positions_inside_the_kernel(monkeypatch, caplog):
    cuda = torch.device("cuda")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", lambda *shape, device: torch.empty(shape, device="meta"))
        patch.setattr(torch, "compile", lambda function: lambda *arguments: None)
        assert choose_attention(cuda, compiled=True) is attend_flexibly
        assert choose_attention(cuda) is attend_fused
        assert choose_attention(torch.device("mps"), compiled=True) is attend_fused

        def fail(*arguments):
            raise NotImplementedError("no such kernel")

        patch.setattr(encoders, "attend_flexibly", fail)
        patch.setattr(torch, "compile", lambda function: function)
        assert choose_attention(cuda, compiled=True) is attend_fused
    assert "FlexAttention failed: no such kernel" in caplog.text


def test_attention_in_bfloat16(vit, faster, square, expected):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, ours = vit(square).float(), faster(square).float()
    published_error = float((rough - expected).square().mean())
    assert 0 < float((ours - expected).square().mean()) < 1.2 * published_error


def test_names_of_weights_stay(vit):
    faster = copy.deepcopy(vit)
    speed_up(faster, CPU)
    assert list(faster.state_dict()) == list(vit.state_dict())


def test_an_accelerator_attends_with_fused_kernels(vit):
    other = copy.deepcopy(vit)
    speed_up(other, torch.device("meta"))
    assert all(type(block.attn) is RelativeAttention for block in other.blocks)
    assert all(block.attn.attend is attend_fused for block in other.blocks)


def test_attention_without_positions_is_left_alone():
    plain = nn.Sequential(Attention(8, 2, use_rel_pos=False))
    speed_up(plain, CPU)
    assert type(plain[0]) is Attention


@pytest.mark.parametrize("build", [TinyViT, TinyEncoder])
def test_normalisations_are_folded(build):
    torch.manual_seed(0)
    encoder = build().eval().requires_grad_(False)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    pixels = torch.randn(1, 3, 128, 192)
    expected = encoder(pixels)
    speed_up(encoder, CPU)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert relative_error(encoder(pixels), expected) < 1e-5


def test_other_normalisations_are_left_alone():
    network = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)
    ).eval()
    before = list(network)
    fold_norms(network)
    assert list(network) == before


@pytest.mark.slow  # compiles for half a minute
def test_compiling_gives_the_same_features(vit, square, expected):
    compiled = copy.deepcopy(vit)
    speed_up(compiled, CPU, compiled=True)
    with torch.inference_mode():
        assert relative_error(compiled(square), expected) < 1e-5


def test_a_missing_compiler_is_an_error_of_one_line(
    vit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    import torch._inductor.config as inductor

    torch.compiler.reset()  # what is compiled already needs no compiler
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/nowhere/g++"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        BackendError, match=r"needs a compiler .* on cpu, got .*; install g\+\+"
    ) as e:
        speed_up(copy.deepcopy(vit), CPU, compiled=True)
    assert "\n" not in str(e.value)

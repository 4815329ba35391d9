"""A small Sam with the geometry of the real ones, and prompts for it."""

from functools import partial

import numpy as np
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from uosam.structures import Prompts


def seed_weights(module):
    """Fill a network with values that give lively masks and scores on both sides of the limits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim > 1:
                value.copy_(noise / np.sqrt(max(1, value[0].numel())))
            else:
                value.copy_(0.1 * noise + float("norm" in name and "weight" in name))
        head = module.mask_decoder.iou_prediction_head.layers[-1]
        head.weight.mul_(0.3)
        head.bias.add_(0.5)
        for mlp in module.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(45)
    return module


def build_small_sam():
    """A Sam with a narrow encoder of one windowed and one global block, seeded."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=2,
        embed_dim=32,
        img_size=1024,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[1],
        window_size=14,
        out_chans=256,
    )
    network = Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(64, 64),
            input_image_size=(1024, 1024),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    return seed_weights(network).eval()


def picture(hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


def make_prompts(rows=1, *, points=2, boxes=False, logits=False, hw=(60, 90), seed=1):
    rng = np.random.default_rng(seed)
    height, width = hw
    xy = rng.uniform(0, 1, (rows, points, 2)) * (width - 1, height - 1)
    corners = np.sort(rng.uniform(0, 1, (rows, 2, 2)), axis=1) * (width - 1, height - 1)
    return Prompts(
        points=xy.astype(np.float32),
        point_labels=rng.integers(0, 2, (rows, points)).astype(np.int8),
        boxes=corners.reshape(rows, 4).astype(np.float32) if boxes else None,
        logits=rng.normal(0, 4, (rows, 256, 256)).astype(np.float32) if logits else None,
        labels=np.arange(rows, dtype=np.int32),
    )

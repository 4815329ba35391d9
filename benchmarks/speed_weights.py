"""Seeded weights with which a SAM does as much work as a trained one.

Where the weights are random, no mask passes the tests of score and stability and nothing of what
follows them is measured; worse, every point gets the same checkerboard for an answer. Four changes
of a seeded network mend that. They touch no shape, so the arithmetic is that of the real model:

- the four quarters of each upscaling step share their weights, so that masks are areas and no
  checkerboards;
- queries and outputs of the decoder's attention are doubled, so that masks differ from point to
  point;
- logits are multiplied so that ``STABLE`` of the masks of one picture pass the stability test;
- scores are brought to mean ``SCORE`` and deviation ``SPREAD``, so that about three in four pass
  the score test. About half of the masks then pass both.
"""

from __future__ import annotations

from typing import Any

import torch

from uosam.backends.batching import stability
from uosam.backends.sam.backend import SamBackend
from uosam.backends.sam.builders import BUILDERS
from uosam.stages.proposals import SAM_LIMITS, grid_points
from uosam.structures import Image

STABLE = 0.7
SCORE, SPREAD = 0.90, 0.06
_GAIN = 2.0
_SIDE = 7  # points along each side of the picture that the values are fitted on


@torch.inference_mode()
def build_seeded(name: str, picture: Image, device: str = "cpu") -> Any:
    """Build a SAM of ``BUILDERS`` with seeded weights, fitted on one picture.

    Args:
        name: of the model.
        picture: to fit on.
        device: where that is computed.

    Returns:
        The network, in evaluation mode, on ``device``.
    """
    torch.manual_seed(0)
    network = BUILDERS[name]().eval().requires_grad_(False).to(device)
    decoder = network.mask_decoder
    for index in (0, 3):
        weight = decoder.output_upscaling[index].weight
        weight.copy_(2 * weight.mean((2, 3), keepdim=True).expand_as(weight))
    for layer in decoder.transformer.layers:
        for attention in (
            layer.self_attn,
            layer.cross_attn_token_to_image,
            layer.cross_attn_image_to_token,
        ):
            attention.q_proj.weight.mul_(_GAIN)
            attention.out_proj.weight.mul_(_GAIN)
    logits, scores = _answers(network, picture)
    _scale_logits(decoder, logits)
    head = decoder.iou_prediction_head.layers[-1]
    # Output 0, the single mask, is not among the answers; nothing tests its score.
    factor = SPREAD / scores.std(0)
    head.weight[1:].mul_(factor[:, None])
    head.bias[1:].sub_(scores.mean(0)).mul_(factor).add_(SCORE)
    return network


def _answers(network: Any, picture: Image) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (P, 3, 4h, 4w) and raw scores (P, 3) of a grid of points."""
    side, device = network.image_encoder.img_size, network.pixel_mean.device
    backend = SamBackend(sam=network, device=device)
    features = torch.from_numpy(backend.embed(picture).features)[None].to(device)
    points = torch.from_numpy(grid_points((side, side), _SIDE))[:, None].to(device)
    sparse, dense = network.prompt_encoder(
        points=(points, torch.ones(points.shape[:2], device=device)), boxes=None, masks=None
    )
    logits, scores = network.mask_decoder(
        image_embeddings=features,
        image_pe=network.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    return logits, scores


def _scale_logits(decoder: Any, logits: torch.Tensor) -> None:
    """Multiply the last layers that make the logits, until the wanted share is stable."""
    _, limit = SAM_LIMITS
    low, high = 1.0, 1e6
    for _ in range(30):
        factor = (low * high) ** 0.5
        stable = float((stability(factor * logits, 1.0, 1.0) >= limit).float().mean())
        low, high = (factor, high) if stable < STABLE else (low, factor)
    for network in decoder.output_hypernetworks_mlps:
        network.layers[-1].weight.mul_(factor)
        network.layers[-1].bias.mul_(factor)

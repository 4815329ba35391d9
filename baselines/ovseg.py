"""OVSeg's classification: masked crops of class-agnostic masks, named by an image-text model.

Liang et al., "Open-Vocabulary Semantic Segmentation with Mask-adapted CLIP", CVPR 2023 (arXiv
2210.04150; github.com/facebookresearch/ov-seg), without its mask prompt, which needs its own
weights. Its "no object" vector is left out too: it is cut off before the softmax and never counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uosam.backends.device import choose_device
from uosam.backends.text.folders import load_network, load_processor, read_config
from uosam.backends.text.image_text import load as load_image_text
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import BackendError, InputError
from uosam.labels import box, check_label_map
from uosam.stages.global_region import GlobalRegionOptions, propose
from uosam.stages.proposals import grid_points
from uosam.structures import Backend, Floats, Image, LabelMap

CUT = 0.1
"""Soft value above which a pixel belongs to a mask; masks without such a pixel are dropped."""
SIDE = 224
"""Pixels of a crop's sides, whatever its shape."""
TEMPERATURE = 100.0
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, of colours in [0, 1]."""

Embed = Callable[[torch.Tensor], Floats]
"""From (N, 3, SIDE, SIDE) normalised pictures to (N, D) embeddings."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Crops:
    """What the image-text model is shown.

    Attributes:
        valid: (Q,) which masks were not dropped; N of them.
        boxes: (N, 4) x0, y0, x1, y1 in pixels, ends exclusive.
        pictures: (N, 3, SIDE, SIDE) normalised, 0 outside the mask.
        masks: (N, 1, SIDE, SIDE) of the crops, 0 or 1.
    """

    valid: NDArray[np.bool_]
    boxes: Floats
    pictures: torch.Tensor
    masks: torch.Tensor


def make_crops(image: Image, soft_masks: Floats) -> Crops:
    """Cut the box of every mask out, filled outside the mask, stretched to a square.

    Args:
        image: (H, W, 3) RGB.
        soft_masks: (Q, H, W) in [0, 1].
    """
    whole = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    normal = (whole - mean) / deviation
    valid = (soft_masks > CUT).any(axis=(1, 2))
    boxes, pictures, masks = [], [], []
    for mask in soft_masks[valid] > CUT:
        x0, y0, x1, y1 = (int(side) for side in box(mask))
        inside = torch.from_numpy(mask[y0 : y1 + 1, x0 : x1 + 1]).float()[None, None]
        part = normal[None, :, y0 : y1 + 1, x0 : x1 + 1] * inside
        boxes.append([x0, y0, x1 + 1, y1 + 1])
        stretch = torch.nn.functional.interpolate
        pictures.append(stretch(part, (SIDE, SIDE), mode="bicubic", align_corners=False))
        masks.append(stretch(inside, (SIDE, SIDE), mode="nearest"))
    empty = torch.zeros(0, 3, SIDE, SIDE)
    return Crops(
        valid=valid,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        pictures=torch.cat([empty, *pictures]),
        masks=torch.cat([empty[:, :1], *masks]),
    )


def score_masks(features: Floats, texts: Floats) -> Floats:
    """Return logits (N, C): cosines with the class texts, times the temperature.

    Args:
        features: (N, D) embeddings of crops, any length.
        texts: (C, D) unit embeddings of the classes.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(TEMPERATURE * (features / lengths) @ texts.T, np.float32)


def score_maps(
    soft_masks: Floats,
    valid: NDArray[np.bool_],
    logits: Floats,
    mask_logits: Floats | None = None,
    weight: float = 0.0,
) -> Floats:
    """Spread the classes of masks over their pixels.

    With a weight w of the network's own classes, probabilities are theirs ** (1 - w) times those of
    the crops ** w, and masks that were dropped count with their own alone.

    Args:
        soft_masks: (Q, H, W) in [0, 1].
        valid: (Q,) of ``make_crops``; N of them.
        logits: (N, C) of ``score_masks``.
        mask_logits: (Q, C + 1) classes of the network that made the masks, "no object" last; None
            leaves them out, as Segment Any RGBD does.
        weight: w in [0, 1]; 0.7 for ADE, 0.6 for Pascal Context, 0.45 for VOC.

    Returns:
        (C, H, W) scores.
    """
    chances = _softmax(logits)
    masks = soft_masks[valid]
    if mask_logits is not None and weight:
        whole = np.ones((len(soft_masks), logits.shape[1]))
        whole[valid] = chances
        chances = _softmax(mask_logits)[:, :-1] ** (1 - weight) * whole**weight
        masks = soft_masks
    return np.asarray(np.einsum("qc,qhw->chw", chances, masks), np.float32)


def refine_ovseg(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    clip: str,
    words: Sequence[str],
    grid: int = 16,
    device: str = "auto",
) -> LabelMap:
    """Name proposals of a segmenter by an image-text model, as OVSeg's authors do with SAM.

    The coarse labels are kept where no proposal lies; elsewhere they do not count.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: proposes.
        background: id that is no object, or None; the first word has this id, or 0.
        clip: folder of a CLIP of transformers.
        words: names of the ids from that of the background on; at least two.
        grid: points along each side of the picture, at least 1.
        device: of the image-text model.

    Returns:
        (H, W) labels.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``, or there are
            fewer than two words.
        BackendError: the folder is not that of a CLIP.
    """
    hw = (image.shape[0], image.shape[1])
    check_label_map(coarse, hw)
    texts, embed = _load_clip(clip, tuple(words), device)
    options = GlobalRegionOptions(grid=grid, min_score=0.5, min_stability=0.8)
    masks, _ = propose(grid_points(hw, grid), backend.embed(image), backend, options)
    if not len(masks):
        return coarse.copy()
    soft = masks.astype(np.float32)
    crops = make_crops(image, soft)
    scores = score_maps(soft, crops.valid, score_masks(embed(crops.pictures), texts))
    named = masks.any(axis=0) & (coarse >= 0)
    ids = scores.argmax(axis=0) + (background or 0)
    return np.where(named, ids, coarse).astype(np.int32)


def load(
    checkpoint: str, *, device: str = "auto", clip: str, vocabulary: str
) -> Callable[[Image], Floats]:
    """Return OVSeg's pipeline over public networks, for ``uosam coarse``.

    Args:
        checkpoint: folder of a MaskFormer or Mask2Former of transformers; its masks are taken, its
            classes are not.
        device: of both networks.
        clip: folder of a CLIP of transformers.
        vocabulary: text file of names, a line each, or the name of a packaged list.

    Returns:
        From (H, W, 3) RGB to scores (K, H, W) of the names.

    Raises:
        BackendError: a folder is not what it should be.
        InputError: the vocabulary cannot be read or has fewer than two names.
    """
    purpose = "a MaskFormer"
    kind = read_config(checkpoint, purpose).get("model_type")
    loaders = {
        "maskformer": "MaskFormerForInstanceSegmentation",
        "mask2former": "Mask2FormerForUniversalSegmentation",
    }
    if kind not in loaders:
        raise BackendError(f"{checkpoint} must hold {purpose} or Mask2Former, got {kind!r}")
    where = choose_device(device)
    network = load_network(checkpoint, loaders[kind], purpose).to(where)
    processor = load_processor(checkpoint, purpose, "AutoImageProcessor")
    texts, embed = _load_clip(clip, read_vocabulary(vocabulary).names, device)

    @torch.inference_mode()
    def label(image: Image) -> Floats:
        inputs = processor(images=np.array(image), return_tensors="pt").to(where)
        found = network(**inputs).masks_queries_logits
        rows, cols = inputs["pixel_values"].shape[-2:]
        soft = torch.nn.functional.interpolate(found, (rows, cols), mode="bilinear")
        if "pixel_mask" in inputs:  # what was padded at the bottom and right is no picture
            shown = inputs["pixel_mask"][0].bool()
            soft = soft[..., : int(shown.any(1).sum()), : int(shown.any(0).sum())]
        soft = torch.nn.functional.interpolate(soft, image.shape[:2], mode="bilinear")
        masks = soft[0].sigmoid().float().cpu().numpy()
        crops = make_crops(image, masks)
        if not crops.valid.any():
            return np.zeros((len(texts), *image.shape[:2]), np.float32)
        return score_maps(masks, crops.valid, score_masks(embed(crops.pictures), texts))

    return label


@lru_cache(maxsize=1)  # of a method that is called picture by picture
def _load_clip(folder: str, words: tuple[str, ...], device: str) -> tuple[Floats, Embed]:
    if len(words) < 2:
        raise InputError(f"OVSeg needs two names or more to choose from, got {len(words)}")
    model: Any = load_image_text(folder, device=device)
    side = int(model.network.config.vision_config.image_size)

    @torch.inference_mode()
    def embed(pictures: torch.Tensor) -> Floats:
        if side != SIDE:  # of a small network
            pictures = torch.nn.functional.interpolate(pictures, (side, side), mode="bilinear")
        found = model.network.get_image_features(pixel_values=pictures.to(model.device))
        features = getattr(found, "pooler_output", found)
        return np.asarray(features.float().cpu().numpy(), np.float32)

    return model.embed_texts(words), embed


def _softmax(logits: Floats) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))

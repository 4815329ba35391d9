"""Captions by any image-to-text model of transformers that is shown a region, from a local folder.

Three families, told apart by ``model_type``: plain models get a crop (BLIP, GIT, ViT-GPT2), models
of regions get the whole picture and the box in words (Florence-2), models that chat get a crop and
a question (SmolVLM, Qwen-VL and whatever else has a chat template).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from uosam.backends.device import choose_device
from uosam.backends.text.captioners import CaptionerOptions, check_regions
from uosam.backends.text.folders import load_network, load_processor, read_config
from uosam.backends.text.generation import Generation, generate, in_halves, words
from uosam.errors import BackendError
from uosam.labels import box
from uosam.structures import Caption, Image, Mask, Masks

PURPOSE = "an image-to-text model"

LEAST_SIDE = 16
"""Pixels: no crop is smaller."""

Family = Literal["plain", "region", "chat"]

_REGION = ("florence2",)
_PLAIN = ("blip", "git", "vision-encoder-decoder", "blip-2")
_TASK = "<REGION_TO_DESCRIPTION>"


def load(options: CaptionerOptions) -> CropCaptioner:
    """Load the model in the folder ``options.checkpoint``.

    Raises:
        BackendError: transformers is not installed, or the folder is missing, damaged or of a
            model that does not put pictures into words.
    """
    folder = options.folder(PURPOSE)
    config = read_config(folder, PURPOSE)
    family = _family(config, folder)
    device = choose_device(options.device)
    network = load_network(folder, "AutoModelForImageTextToText", PURPOSE).to(device)
    processor = load_processor(folder, PURPOSE)
    if not hasattr(processor, "image_processor"):  # ViT-GPT2: two processors side by side
        processor = load_processor(folder, PURPOSE, "AutoImageProcessor")
        tokenizer = load_processor(folder, "a tokenizer", "AutoTokenizer")
    else:
        tokenizer = processor.tokenizer
    if options.precision == "bfloat16":
        network = network.to(torch.bfloat16)
    tokenizer.padding_side = "left"  # a prompt ends where the answer begins
    eos = _first_id(network.generation_config.eos_token_id, network, tokenizer, folder)
    pad = tokenizer.pad_token_id
    return CropCaptioner(
        network=network,
        processor=processor,
        tokenizer=tokenizer,
        family=family,
        options=options,
        device=device,
        generation=Generation(
            beams=options.beams,
            most=options.max_new_tokens,
            eos=eos,
            pad=eos if pad is None else pad,
        ),
    )


def _family(config: Mapping[str, Any], folder: Path) -> Family:
    kind = str(config.get("model_type"))
    if kind in _REGION:
        return "region"
    if kind in _PLAIN:
        return "plain"
    has_template = any(
        (folder / name).is_file() for name in ("chat_template.json", "chat_template.jinja")
    )
    if has_template or '"chat_template"' in _text(folder / "tokenizer_config.json"):
        return "chat"
    raise BackendError(
        f"{folder} must hold {PURPOSE}: {', '.join((*_PLAIN, *_REGION))}, or one with a chat "
        f"template, got {kind!r}; give another folder, or --captioner sca for SCA's own"
    )


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _first_id(found: Any, network: Any, tokenizer: Any, folder: Path) -> int:
    """Return the id that ends a phrase, wherever a model keeps it."""
    text = getattr(network.config, "text_config", network.config)
    decoder = getattr(network.config, "decoder", None)
    for place in (
        found,
        getattr(text, "eos_token_id", None),
        getattr(text, "sep_token_id", None),
        getattr(decoder, "eos_token_id", None),
        tokenizer.eos_token_id,
        tokenizer.sep_token_id,
    ):
        value = place[0] if isinstance(place, list) and place else place
        if isinstance(value, int):
            return value
    raise BackendError(f"{folder}: no id ends a phrase; its generation_config.json needs one")


@dataclass(frozen=True, eq=False, kw_only=True)
class CropCaptioner:
    """A captioner that shows a model one region at a time, many regions in a batch.

    Attributes:
        network: in evaluation mode.
        processor: prepares pictures, and texts where the model takes any.
        tokenizer: turns ids into text.
        family: how the model is asked.
        options: context, background, question and sizes of batches.
        device: where it computes.
        generation: how phrases are searched for.
    """

    network: Any
    processor: Any
    tokenizer: Any
    family: Family
    options: CaptionerOptions
    device: torch.device
    generation: Generation

    @torch.inference_mode()
    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        """Caption (M, H, W) masks of one picture.

        Raises:
            InputError: a mask is empty or of another size than the picture.
            BackendError: the device has not enough memory for one region.
        """
        check_regions(image, masks)
        order = np.arange(len(masks))
        parts = [
            order[i : i + self.options.batch] for i in range(0, len(order), self.options.batch)
        ]
        found: list[Caption] = []
        for _, captions in in_halves(parts, self.device, partial(self._ask, image, masks)):
            found += captions
        return found

    def _ask(self, image: Image, masks: Masks, rows: NDArray[np.int64]) -> list[Caption]:
        inputs = self._inputs(image, masks[rows])
        dtype = next(self.network.parameters()).dtype
        moved = {
            key: value.to(self.device, dtype if value.is_floating_point() else value.dtype)
            for key, value in inputs.items()
        }
        given = moved.get("input_ids")
        encodes = bool(self.network.config.is_encoder_decoder)
        # A model of one stack returns what it was given before what it wrote.
        head = 0 if given is None or encodes else int(given.shape[1])
        ids, scores = generate(self.network, moved, self.generation, given=head)
        said = zip(words(self.tokenizer, ids), scores.float().tolist(), strict=True)
        return [Caption(text=text, score=score) for text, score in said]

    def _inputs(self, image: Image, masks: Masks) -> Mapping[str, torch.Tensor]:
        options: dict[str, Any] = {"return_tensors": "pt"}
        if self.family == "region":
            whole = [PIL.Image.fromarray(image)] * len(masks)
            texts = [_TASK + locate(mask) for mask in masks]
            return dict(self.processor(images=whole, text=texts, padding=True, **options))
        crops = [
            PIL.Image.fromarray(cut_out(image, mask, self.options.context, self.options.background))
            for mask in masks
        ]
        if self.family == "plain":
            return dict(self.processor(images=crops, **options))
        message = [{"role": "user", "content": [
            {"type": "image"}, {"type": "text", "text": self.options.question}]}]  # fmt: skip
        text = self.processor.apply_chat_template(message, add_generation_prompt=True)
        nested = [[crop] for crop in crops]
        return dict(
            self.processor(images=nested, text=[text] * len(crops), padding=True, **options)
        )


def locate(mask: Mask) -> str:
    """Return the box of a mask in Florence-2's words: thousandths of the picture's sides.

    >>> mask = np.zeros((100, 200), bool)
    >>> mask[10:20, 50:100] = True
    >>> locate(mask)
    '<loc_250><loc_100><loc_500><loc_200>'
    """
    height, width = mask.shape
    x0, y0, x1, y1 = box(mask)
    sides = ((x0, width), (y0, height), (x1 + 1, width), (y1 + 1, height))
    places = [min(999, int(1000 * side / whole)) for side, whole in sides]
    return "".join(f"<loc_{place}>" for place in places)


def cut_out(image: Image, mask: Mask, context: float, background: str) -> Image:
    """Return the picture of one region.

    Args:
        image: (H, W, 3).
        mask: (H, W) with at least one pixel.
        context: what its box is widened by on every side, as a share of its sides.
        background: pixels outside the mask: "keep" them, make them "white" or the picture's
            "mean", or "blur" them.
    """
    height, width = mask.shape
    x0, y0, x1, y1 = box(mask)
    left, right = _widen(int(x0), int(x1) + 1, context, width)
    top, bottom = _widen(int(y0), int(y1) + 1, context, height)
    crop = image[top:bottom, left:right]
    inside = mask[top:bottom, left:right, None]
    if background == "white":
        crop = np.where(inside, crop, np.uint8(255))
    elif background == "mean":
        crop = np.where(inside, crop, image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8))
    elif background == "blur":
        spread = max(1.0, max(crop.shape[:2]) / 20)
        crop = np.where(inside, crop, cv2.GaussianBlur(crop, (0, 0), spread))
    return np.ascontiguousarray(crop, np.uint8)


def _widen(first: int, last: int, context: float, limit: int) -> tuple[int, int]:
    """Widen [first, last) by a share of its length, to at least the least side, within [0, limit).

    >>> _widen(10, 20, 0.1, 100), _widen(0, 2, 0.0, 100), _widen(98, 100, 0.0, 100)
    ((7, 23), (0, 16), (84, 100))
    """
    more = max(round((last - first) * context), -(-(LEAST_SIDE - last + first) // 2), 0)
    first, last = first - more, last + more
    if first < 0:
        first, last = 0, max(last, min(LEAST_SIDE, limit))
    if last > limit:
        first, last = min(first, max(0, limit - LEAST_SIDE)), limit
    return max(0, first), last

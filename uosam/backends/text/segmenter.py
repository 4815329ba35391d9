"""Segmenters that are asked in words: CLIPSeg and SAM 3, from a local folder.

Lüddecke and Ecker, "Image Segmentation Using Text and Image Prompts", 2022; Carion et al., "SAM 3:
Segment Anything with Concepts", 2025. CLIPSeg is run as SSA-engine runs it: the picture stretched
to a square of 512 pixels after it was normalised, the logits stretched back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from uosam.backends.checks import check_image
from uosam.backends.device import choose_device
from uosam.backends.text.folders import load_network, load_processor, read_config
from uosam.errors import BackendError
from uosam.structures import Floats, Image

PURPOSE = "a text-prompted segmenter"
SIDE = 512
"""Pixels of the square that CLIPSeg sees."""

_LOADERS = {"clipseg": "CLIPSegForImageSegmentation", "sam3": "Sam3Model"}


def load(
    folder: str | Path,
    *,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> FolderTextSegmenter:
    """Load the text-prompted segmenter in a folder.

    Raises:
        BackendError: the folder is missing, damaged or of another kind of model.
    """
    kind = read_config(folder, PURPOSE).get("model_type")
    # The published SAM 3 folder is that of its video model, which holds the one for pictures.
    kind = "sam3" if kind == "sam3_video" else kind
    if kind not in _LOADERS:
        raise BackendError(
            f"{folder} must hold {PURPOSE} ({', '.join(_LOADERS)}), got {kind!r}; give another "
            "folder"
        )
    where = choose_device(device)
    return FolderTextSegmenter(
        network=load_network(folder, _LOADERS[kind], PURPOSE).to(where),
        processor=load_processor(folder, PURPOSE),
        device=where,
        whole_pictures=kind == "sam3",
        autocast=precision == "bfloat16",
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class FolderTextSegmenter:
    """A ``TextSegmenter`` over a network of transformers.

    Attributes:
        network: in evaluation mode.
        processor: of the folder.
        device: where it computes.
        whole_pictures: whether it is SAM 3, which encodes a picture once for all words.
        autocast: compute in bfloat16.
    """

    network: Any
    processor: Any
    device: torch.device
    whole_pictures: bool
    autocast: bool = False

    @torch.inference_mode()
    def segment(self, image: Image, words: Sequence[str]) -> Floats:
        """Return (W, H, W') logits of words at the size of the picture.

        Raises:
            InputError: the picture is not (H, W, 3) uint8 or has no pixels.
        """
        check_image(image)
        hw = (image.shape[0], image.shape[1])
        if not words:
            return np.zeros((0, *hw), np.float32)
        with self._precision():
            found = (self._ask_sam3 if self.whole_pictures else self._ask_clipseg)(image, words)
        logits = F.interpolate(found.float()[:, None], hw, mode="bilinear", align_corners=False)
        return np.asarray(logits[:, 0].cpu().numpy(), np.float32)

    def _ask_clipseg(self, image: Image, words: Sequence[str]) -> torch.Tensor:
        inputs = self.processor.image_processor(
            images=[image], do_resize=False, return_tensors="pt"
        )
        pixels = F.interpolate(
            inputs["pixel_values"].to(self.device), (SIDE, SIDE), mode="bilinear"
        )
        texts = self.processor.tokenizer(
            list(words), padding=True, truncation=True, return_tensors="pt"
        )
        answers = self.network(
            pixel_values=pixels.expand(len(words), -1, -1, -1),
            interpolate_pos_encoding=True,
            **texts.to(self.device),
        )
        logits: torch.Tensor = answers.logits
        return logits.reshape(len(words), *logits.shape[-2:])  # one word loses its axis

    def _ask_sam3(self, image: Image, words: Sequence[str]) -> torch.Tensor:
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        seen = self.network.get_vision_features(pixel_values=inputs["pixel_values"])
        found = []
        for word in words:  # one word for each embedding is all it takes
            text = self.processor(text=word, return_tensors="pt").to(self.device)
            answer = self.network(
                vision_embeds=seen,
                input_ids=text["input_ids"],
                attention_mask=text["attention_mask"],
            )
            found.append(answer.semantic_seg[0, 0])
        return torch.stack(found)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

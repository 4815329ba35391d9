"""Models that compare pictures with words: CLIP, SigLIP and their kin, from a local folder.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021; Zhai
et al., "Sigmoid Loss for Language Image Pre-Training", 2023; the templates are ViLD's (Gu et al.,
2022) as OVSeg uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from uosam.backends.device import choose_device, out_of_memory
from uosam.backends.text.folders import load_network, load_processor, read_config
from uosam.errors import BackendError
from uosam.structures import Floats, Image

PURPOSE = "an image-text model"

TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    *(
        sentence.replace("SIZE", size)
        for sentence in (
            "a photo of a SIZE {}.",
            "This is a photo of a SIZE {}.",
            "There is a SIZE {} in the scene.",
        )
        for size in ("small", "medium", "large")
    ),
)
"""Sentences whose mean embedding stands for a word; full stops where the source has them."""

SENTENCE = ("This is a photo of {}.",)
"""The sentence that SigLIP was evaluated with."""

_SIGLIP = ("siglip", "siglip2")
_SIGLIP_TOKENS = 64
KINDS = ("clip", "metaclip_2", "altclip", "align", *_SIGLIP)
"""``model_type`` of the folders that are served."""


def load(
    folder: str | Path,
    *,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    templates: Sequence[str] | None = None,
    batch_size: int = 64,
) -> FolderImageText:
    """Load the image-text model in a folder.

    Args:
        folder: as ``save_pretrained`` writes it.
        device: "auto" or a torch device.
        precision: of the networks.
        templates: sentences with "{}"; None for those that suit the model.
        batch_size: pictures or texts at a time; halved on out-of-memory.

    Raises:
        BackendError: the folder is missing, damaged or of another kind of model.
    """
    kind = read_config(folder, PURPOSE).get("model_type")
    if kind not in KINDS:
        raise BackendError(
            f"{folder} must hold {PURPOSE} ({', '.join(KINDS)}), got {kind!r}; give another folder"
        )
    network = load_network(folder, "AutoModelForZeroShotImageClassification", PURPOSE)
    processor = load_processor(folder, PURPOSE)
    where = choose_device(device)
    siglip = kind in _SIGLIP
    mean = processor.image_processor.image_mean
    return FolderImageText(
        network=network.to(where),
        processor=processor,
        device=where,
        lower=siglip,
        templates=tuple(templates or (SENTENCE if siglip else TEMPLATES)),
        # The bias of SigLIP is the same for all names, and gone after a softmax.
        scale=float(network.logit_scale.exp() if hasattr(network, "logit_scale") else 1.0)
        if kind != "align"
        else float(1 / network.temperature),
        colour=(round(255 * mean[0]), round(255 * mean[1]), round(255 * mean[2])),
        autocast=precision == "bfloat16",
        batch_size=batch_size,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class FolderImageText:
    """An ``ImageText`` over a network of transformers; embeddings have length 1.

    Attributes:
        network: in evaluation mode.
        processor: of the folder.
        device: where it computes.
        lower: whether texts are SigLIP's: in lower case, padded to 64 tokens.
        templates: sentences with "{}".
        scale: of cosines before the softmax.
        colour: the mean of the pictures the network saw.
        autocast: compute in bfloat16.
        batch_size: at most.
        exclusive: False: cosines are no probabilities.
    """

    network: Any
    processor: Any
    device: torch.device
    lower: bool
    templates: tuple[str, ...]
    scale: float
    colour: tuple[int, int, int]
    autocast: bool = False
    batch_size: int = 64
    exclusive: bool = False

    def embed_images(self, images: Sequence[Image]) -> Floats:
        """Return (N, D) unit embeddings of pictures, which should be square: the rest is cut.

        Raises:
            BackendError: the device has not enough memory for one picture.
        """

        def embed(some: Sequence[Image]) -> Any:
            inputs = self.processor.image_processor(images=list(some), return_tensors="pt")
            return self.network.get_image_features(**inputs.to(self.device))

        return self._in_batches(embed, images)

    def embed_texts(self, words: Sequence[str]) -> Floats:
        """Return (W, D) unit embeddings of words: the mean over all templates.

        Raises:
            BackendError: the device has not enough memory for one text.
        """
        texts = [template.format(word) for word in words for template in self.templates]
        if self.lower:
            texts = [text.lower() for text in texts]
        found = self._in_batches(self._embed_sentences, texts)
        means = found.reshape(len(words), len(self.templates), -1).mean(axis=1)
        return _unit(means)

    def _embed_sentences(self, texts: Sequence[str]) -> Any:
        padding: dict[str, Any] = {"padding": True}
        if self.lower:
            padding = {"padding": "max_length", "max_length": _SIGLIP_TOKENS}
        inputs = self.processor.tokenizer(
            list(texts), return_tensors="pt", truncation=True, **padding
        )
        return self.network.get_text_features(**inputs.to(self.device))

    @torch.inference_mode()
    def _in_batches(self, embed: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Floats:
        """Embed items some at a time, fewer where memory does not suffice."""
        size, start = self.batch_size, 0
        parts: list[Floats] = []
        while start < len(items):
            some = items[start : start + size]
            try:
                with self._precision():
                    found = embed(some)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if len(some) == 1:
                    raise BackendError(
                        f"not enough memory on {self.device} to embed one picture or text; use a "
                        "smaller model, or --device cpu"
                    ) from error
                size = max(1, len(some) // 2)
                continue
            # Older versions return the features, newer ones an object that holds them.
            features = getattr(found, "pooler_output", found)
            parts.append(_unit(features.float().cpu().numpy()))
            start += len(some)
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)

"""Segment and Caption Anything: SAM, a query mixer and a language model put a region into words.

Huang et al., "Segment and Caption Anything", CVPR 2024 (arXiv 2312.00869), class
``ScaMultitaskV2Model`` of the public code, over transformers' own SAM and causal language models.
What the public code does wrong by accident (a head of random numbers after reloading, a length
that depends on the library's version) is put right; see docs/captions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uosam.backends.batching import rows_of_equal_points
from uosam.backends.device import choose_device
from uosam.backends.hf.backend import HfBackend
from uosam.backends.hf.files import FAMILIES
from uosam.backends.text.captioners import CaptionerOptions, check_regions
from uosam.backends.text.folders import load_processor
from uosam.backends.text.generation import Generation, generate, in_halves, words
from uosam.backends.text.sca_files import ScaConfig, read_sca_config, read_sca_weights
from uosam.backends.text.sca_network import ScaNetwork, fill
from uosam.errors import BackendError
from uosam.labels import box, iou
from uosam.structures import Caption, Embedding, Floats, Image, Masks, Prompts

PURPOSE = "an SCA checkpoint"


def load(options: CaptionerOptions) -> ScaCaptioner:
    """Load the SCA checkpoint in the folder ``options.checkpoint``.

    Raises:
        BackendError: transformers is not installed, or the folder is missing, damaged, of another
            class or without tokenizer.
    """
    folder = options.folder(PURPOSE)
    config = read_sca_config(folder)
    tensors = read_sca_weights(folder)
    network = fill(config, tensors, folder)
    device = choose_device(options.device)
    network.to(device)
    if options.precision == "bfloat16":
        network.language.to(torch.bfloat16)
    tokenizer = load_processor(
        _tokenizer_folder(folder, options, config), "a tokenizer", "AutoTokenizer"
    )
    return ScaCaptioner(
        network=network,
        backend=HfBackend(
            network=network.sam,
            family=FAMILIES["sam"],
            device=device,
            autocast=options.precision == "bfloat16",
            batch_size=options.batch,
        ),
        tokenizer=tokenizer,
        generation=Generation(
            beams=options.beams,
            most=options.max_new_tokens,
            eos=config.eos,
            pad=config.eos if config.pad is None else config.pad,
        ),
        batch=options.batch,
    )


def _tokenizer_folder(folder: Path, options: CaptionerOptions, config: ScaConfig) -> Path:
    files = ("tokenizer.json", "vocab.json", "tokenizer.model")
    places = [folder] if options.tokenizer is None else [Path(options.tokenizer).expanduser()]
    for place in places:
        if any((place / name).is_file() for name in files):
            return place
    raise BackendError(
        f"{places[0]} must hold a tokenizer ({', '.join(files)}), found none; give the folder of "
        f"that of {config.text_name} with -s captioner.tokenizer=FOLDER"
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class ScaCaptioner:
    """A captioner whose one embedding of a picture serves masks and phrases.

    Attributes:
        network: in evaluation mode.
        backend: its SAM, a promptable segmenter by itself.
        tokenizer: turns ids into text.
        generation: how phrases are searched for.
        batch: regions in work at a time; halved on out-of-memory.
    """

    network: ScaNetwork
    backend: HfBackend
    tokenizer: Any
    generation: Generation
    batch: int = 32

    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        """Caption (M, H, W) masks of one picture, each by its box.

        Raises:
            InputError: a mask is empty or of another size than the picture.
            BackendError: the device has not enough memory for one region.
        """
        check_regions(image, masks)
        if not len(masks):
            return []
        corners = np.stack([box(mask) for mask in masks]).astype(np.float32)
        corners[:, 2:] += 1  # SCA was trained on boxes whose far edges are exclusive
        prompts = Prompts(
            points=np.zeros((len(masks), 0, 2), np.float32),
            point_labels=np.zeros((len(masks), 0), np.int8),
            boxes=corners,
            labels=np.zeros(len(masks), np.int32),
            asked=masks,
        )
        return self.caption_prompts(self.backend.embed(image), prompts)

    @torch.inference_mode()
    def caption_prompts(self, embedding: Embedding, prompts: Prompts) -> list[Caption]:
        """Caption points and boxes of one picture; boxes have exclusive far edges here.

        Args:
            embedding: of ``backend``.
            prompts: without masks; ``asked`` are the regions that ``agreement`` is with.

        Raises:
            BackendError: the device has not enough memory for one region.
        """
        rows: list[NDArray[np.int64]] = list(rows_of_equal_points(prompts))
        read = partial(self._read, embedding, prompts)
        prefixes: dict[int, torch.Tensor] = {}
        agreement = np.full(len(prompts), np.nan)
        for group in rows:
            waiting = [group[i : i + self.batch] for i in range(0, len(group), self.batch)]
            for part, found in in_halves(waiting, self.backend.device, read):
                for row, prefix, shared in zip(part, *found, strict=True):
                    prefixes[int(row)] = prefix
                    agreement[row] = shared
        return self._write([prefixes[row] for row in range(len(prompts))], agreement)

    def _read(
        self, embedding: Embedding, prompts: Prompts, rows: NDArray[np.int64]
    ) -> tuple[list[torch.Tensor], list[float]]:
        """Return the prefix of each row, and the IoU of the best own mask with what was asked."""
        points, boxes, _ = self.backend._questions(prompts, rows, embedding.image_hw)
        sam = self.network.sam
        sparse, dense = sam.prompt_encoder(*(points or (None, None)), boxes, None)
        with self.backend._precision():
            masks, scores, mixed = self.network.read_prompts(
                embedding.state.features, sparse, dense
            )
        prefixes = list(self.network.prefix(mixed.float()))
        if prompts.asked is None:
            return prefixes, [float("nan")] * len(rows)
        best = masks[torch.arange(len(rows)), scores.argmax(1)].float()
        whole = self.backend._enlarge(best[:, None], embedding.image_hw)[:, 0] > 0
        own = whole.cpu().numpy()
        return prefixes, [
            iou(mask, prompts.asked[row]) for mask, row in zip(own, rows, strict=True)
        ]

    def _write(self, prefixes: Sequence[torch.Tensor], agreement: Floats) -> list[Caption]:
        """Let the language model put prefixes into words."""
        language = self.network.language
        dtype = language.get_input_embeddings().weight.dtype
        order = np.arange(len(prefixes))
        waiting = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]

        def ask(some: NDArray[np.int64]) -> tuple[list[str], list[float]]:
            embeds = torch.stack([prefixes[index] for index in some]).to(dtype)
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
            keyword, kept = self.network.remember_task(len(some) * self.generation.beams)
            inputs = {"inputs_embeds": embeds, "attention_mask": mask, keyword: kept}
            ids, scores = generate(language, inputs, self.generation)
            return words(self.tokenizer, ids), scores.float().tolist()

        found: list[Caption] = []
        for part, (texts, scores) in in_halves(waiting, self.backend.device, ask):
            found += [
                Caption(text=text, score=score, agreement=float(agreement[index]))
                for index, text, score in zip(part, texts, scores, strict=True)
            ]
        return found

"""The network of SCA: SAM, a second two-way transformer over its tokens, a language model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uosam.backends.text.folders import library
from uosam.backends.text.sca_files import ScaConfig, settle

PURPOSE = "an SCA checkpoint"


class ScaNetwork(nn.Module):
    """The network, with the names of the public checkpoints.

    Args:
        config: as read.
        tied: whether the language model's head is its input embedding.
    """

    def __init__(self, config: ScaConfig, *, tied: bool) -> None:
        super().__init__()
        transformers = library(PURPOSE)
        sam = transformers.SamModel(
            transformers.SamConfig(
                vision_config=dict(config.vision),
                prompt_encoder_config=dict(config.prompt),
                mask_decoder_config=dict(config.decoder),
            )
        )
        self.sam = sam
        width = config.decoder["hidden_size"]
        # A two-way transformer outside a model has no attention chosen for it.
        mixer = {**config.decoder, "num_hidden_layers": config.mixer_layers}
        self.mixer = transformers.models.sam.modeling_sam.SamTwoWayTransformer(
            transformers.models.sam.configuration_sam.SamMaskDecoderConfig(
                **mixer, attn_implementation="sdpa"
            )
        )
        kind = transformers.CONFIG_MAPPING[config.text_type]
        text = kind(**{**config.text, "tie_word_embeddings": tied})
        self.language = transformers.AutoModelForCausalLM.from_config(text)
        self.caption_tokens = nn.Embedding(config.caption_tokens, width)
        self.task_tokens = nn.Embedding(2 * config.task_tokens, text.hidden_size)
        self.project = nn.Linear(width, text.hidden_size)

    def public_names(self) -> dict[str, str]:
        """Return the key in a public checkpoint of each of this network's own keys."""
        starts = (
            ("sam.", ""),
            ("mixer.", "mask_decoder.additional_transformer."),
            ("language.", "language_model."),
            ("caption_tokens.", "mask_decoder.caption_tokens."),
            ("task_tokens.", "task_tokens."),
            ("project.", "language_project."),
        )
        names = {}
        for key in self.state_dict():
            ours, theirs = next(pair for pair in starts if key.startswith(pair[0]))
            names[key] = theirs + key.removeprefix(ours)
        return names

    def read_prompts(
        self, features: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode masks and mix the same tokens into what the language model reads.

        Args:
            features: (1, C, h, w) of the picture.
            sparse: (B, 1, S, C) prompt tokens.
            dense: (B, C, h, w).

        Returns:
            (B, 3, 4h, 4w) mask logits, (B, 3) estimated IoU, (B, K, C) mixed caption tokens.
        """
        kept: list[torch.Tensor] = []
        transformer = self.sam.mask_decoder.transformer
        handle = transformer.register_forward_hook(
            lambda module, given, found: kept.extend(found[:2])
        )
        rows = len(sparse)
        grid = self.sam.get_image_wide_positional_embeddings().expand(rows, -1, -1, -1)
        try:
            masks, scores = self.sam.mask_decoder(
                image_embeddings=features.expand(rows, -1, -1, -1),
                image_positional_embeddings=grid,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )[:2]
        finally:
            handle.remove()
        tokens, image = kept
        caption = self.caption_tokens.weight.expand(rows, 1, -1, -1)
        # Mixer and projection in float32 always: they are small, and bfloat16 moves what is read.
        with torch.autocast(tokens.device.type, enabled=False):
            mixed = self.mixer(
                torch.cat([caption, tokens.float()], dim=2),
                image.float().transpose(2, 3).reshape(rows, -1, *features.shape[-2:]),
                grid,
                None,
                None,
            )[0]
        return masks[:, 0], scores[:, 0], mixed[:, 0, : caption.shape[2]]

    def remember_task(self, rows: int) -> tuple[str, Any]:
        """Run the task tokens, which every prompt begins with, once for many rows.

        The language model then reads K positions a row instead of T + K; what it says is the same
        to the bit (captions.md, section 8).

        Args:
            rows: of a batch, times the width of a search by beams.

        Returns:
            The keyword by which this version of transformers takes keys and values, and those.
        """
        parameters = inspect.signature(type(self.language).forward).parameters
        keyword = "cache" if "cache" in parameters else "past_key_values"
        dtype = self.language.get_input_embeddings().weight.dtype
        tokens = self._task(1).to(dtype)[None]
        kept = library(PURPOSE).DynamicCache()
        self.language(inputs_embeds=tokens, use_cache=True, **{keyword: kept})
        kept.batch_repeat_interleave(rows)
        return keyword, kept

    def _task(self, task: int) -> torch.Tensor:
        count = self.task_tokens.num_embeddings // 2
        return self.task_tokens.weight[task * count : (task + 1) * count]

    def prefix(self, mixed: torch.Tensor, task: int = 1) -> torch.Tensor:
        """Return (B, T + K, D): task tokens, then projected caption tokens.

        Args:
            mixed: (B, K, C).
            task: 1 "caption", 0 "recognition", which no release was trained for.
        """
        tokens = self._task(task)
        return torch.cat([tokens.expand(len(mixed), -1, -1), self.project(mixed)], dim=1)


def fill(config: ScaConfig, tensors: dict[str, torch.Tensor], folder: Path) -> ScaNetwork:
    """Build the network around the tensors of a file, never holding both.

    Args:
        config: as read.
        tensors: of the file; changed.
        folder: for messages.

    Raises:
        BackendError: the tensors are not those that the configuration describes.
    """
    with torch.device("meta"):
        probe = ScaNetwork(config, tied=False)
    state = probe.state_dict()
    shapes = {public: state[key].shape for key, public in probe.public_names().items()}
    tied = bool(config.text.get("tie_word_embeddings", config.text_type == "gpt2"))
    found, tied = settle(tensors, shapes, folder, tied=tied)
    with torch.device("meta"):
        network = ScaNetwork(config, tied=tied)
    named = {key: found[public].float() for key, public in network.public_names().items()}
    network.load_state_dict(named, assign=True)
    if tied:
        network.language.tie_weights()
    for module in network.modules():
        waiting = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        if waiting:  # computed, not stored: positions of the language model
            fresh = type(module)(network.language.config)
            for name in waiting:
                module.register_buffer(name, getattr(fresh, name), persistent=False)
    return network.eval().requires_grad_(False)

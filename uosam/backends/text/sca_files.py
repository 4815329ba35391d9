"""The files of an SCA checkpoint: configuration by white list, weights by key, both strictly.

Segment and Caption Anything (Huang et al., CVPR 2024, arXiv 2312.00869) was released as folders
that its public class writes. Every expected key must be there with its shape and nothing else may
be; what is let pass is named here, key by key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from uosam.backends.text.folders import library
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.errors import BackendError

CLASS = "ScaMultitaskV2Model"
"""The one public class that is read; all released checkpoints are of it."""

_VISION = (
    "hidden_size", "output_channels", "num_hidden_layers", "num_attention_heads", "num_channels",
    "image_size", "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout", "qkv_bias",
    "mlp_ratio", "use_abs_pos", "use_rel_pos", "window_size", "global_attn_indexes",
    "num_pos_feats", "mlp_dim",
)  # fmt: skip
_PROMPT = (
    "hidden_size", "image_size", "patch_size", "mask_input_channels", "num_point_embeddings",
    "hidden_act", "layer_norm_eps",
)  # fmt: skip
_DECODER = (
    "hidden_size", "hidden_act", "mlp_dim", "num_hidden_layers", "num_attention_heads",
    "attention_downsample_rate", "num_multimask_outputs", "iou_head_depth", "iou_head_hidden_dim",
    "layer_norm_eps",
)  # fmt: skip
_NOT_OF_TEXT = (
    "architectures", "torch_dtype", "transformers_version", "_name_or_path", "model_type",
    "task_specific_params", "torchscript", "use_bfloat16", "pruned_heads", "tf_legacy_loss",
    "finetuning_task", "problem_type", "tie_encoder_decoder", "output_attentions",
    "output_hidden_states", "return_dict", "id2label", "label2id", "is_decoder",
    "is_encoder_decoder", "add_cross_attention", "prefix", "cross_attention_hidden_size",
    "chunk_size_feed_forward", "tokenizer_class", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "sep_token_id",
    "bad_words_ids", "remove_invalid_values", "typical_p", "do_sample", "early_stopping",
    "num_beams", "max_length", "min_length", "decoder_start_token_id", "num_return_sequences",
)  # fmt: skip
"""Bookkeeping that transformers 4 wrote into every configuration, and version 5 refuses."""
_ROTARY = re.compile(r"language_model\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
_OLD_MASKS = re.compile(r"language_model\.transformer\.h\.\d+\.attn\.(bias|masked_bias)")
_SHARED = "shared_image_embedding.positional_embedding"
_SHARED_COPY = "prompt_encoder.shared_embedding.positional_embedding"
_HEAD = "language_model.lm_head.weight"
_INPUTS = ("language_model.transformer.wte.weight", "language_model.model.embed_tokens.weight")


@dataclass(frozen=True, kw_only=True)
class ScaConfig:
    """What ``config.json`` says, cut to the fields that build the network.

    Attributes:
        vision: fields of ``SamVisionConfig``.
        prompt: fields of ``SamPromptEncoderConfig``.
        decoder: fields of ``SamMaskDecoderConfig``.
        text: fields of the language model's configuration, without those of generation.
        text_type: its ``model_type``, "gpt2" or "llama".
        text_name: where the language model came from, for messages.
        mixer_layers: layers of the query mixer.
        caption_tokens: K, tokens that become words.
        task_tokens: T, tokens of each of the two tasks.
        bos, eos, pad: ids of the language model; None where it has none.
    """

    vision: Mapping[str, Any]
    prompt: Mapping[str, Any]
    decoder: Mapping[str, Any]
    text: Mapping[str, Any]
    text_type: str
    text_name: str
    mixer_layers: int
    caption_tokens: int
    task_tokens: int
    bos: int | None
    eos: int
    pad: int | None


def read_sca_config(folder: Path) -> ScaConfig:
    """Read the configuration of an SCA checkpoint.

    Raises:
        BackendError: no config.json, another class, or a field is missing.
    """
    try:
        tree = json.loads((folder / "config.json").read_text("utf-8"))
        found = (tree.get("architectures") or [tree.get("model_type")])[0]
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise BackendError(
            f"{folder} must be the folder of an SCA checkpoint with config.json, got "
            f"{type(error).__name__}; copy the whole folder"
        ) from error
    if found != CLASS:
        raise BackendError(
            f"{folder} must hold a model of class {CLASS}, got {found!r}; "
            "other classes of SCA were never released, other captioners are --model crop"
        )
    try:
        decoder, text = tree["mask_caption_decoder_config"], tree["text_config"]
        if decoder.get("num_caption_heads", 1) != 1:
            raise BackendError(
                f"{folder}: expected one caption head, as in all releases, got "
                f"{decoder['num_caption_heads']}"
            )
        return ScaConfig(
            vision=_pick(tree["vision_config"], _VISION),
            prompt=_pick(tree["prompt_encoder_config"], _PROMPT),
            decoder=_pick(decoder, _DECODER),
            text=_without_generation(text),
            text_type=text["model_type"],
            text_name=text.get("_name_or_path") or text["model_type"],
            mixer_layers=decoder["additional_num_hidden_layers"],
            caption_tokens=decoder["num_caption_tokens"],
            task_tokens=tree["num_task_tokens"],
            bos=text.get("bos_token_id"),
            eos=text["eos_token_id"],
            pad=text.get("pad_token_id"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BackendError(
            f"{folder}: config.json lacks {error} of an SCA model; copy the whole folder"
        ) from error


def _pick(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def _without_generation(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what says how to generate: transformers 5 refuses it in a model's configuration."""
    generation = set(library("SCA").GenerationConfig().to_dict()) - {
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "use_cache",
    }
    dropped = generation | set(_NOT_OF_TEXT)
    return {key: value for key, value in fields.items() if key not in dropped}


def read_sca_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint: safetensors or restricted pickle, whole or in shards.

    Raises:
        BackendError: there are none, a shard is missing, or a file is damaged or runs code.
    """
    for name, read in (
        ("model.safetensors", _read_safetensors),
        ("pytorch_model.bin", _read_pickle),
    ):
        if (folder / name).is_file():
            return read(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            tensors: dict[str, torch.Tensor] = {}
            for shard in _shards(index):
                tensors |= read(folder / shard)
            return tensors
    raise BackendError(
        f"{folder} must hold model.safetensors or pytorch_model.bin, or shards with an index, "
        "found none; copy the whole folder"
    )


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{index}: expected an index of shards, got {error!r}") from error
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise BackendError(f"{index.parent}: shard {name} is missing; copy the whole folder")
    return names


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BackendError(f"{path}: expected safetensors, got {error}; copy it again") from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    found = read_checkpoint(path)
    if not isinstance(found, Mapping) or not all(torch.is_tensor(v) for v in found.values()):
        raise BackendError(f"{path}: expected a state dict of tensors, got {type(found).__name__}")
    return dict(found)


def settle(
    tensors: dict[str, torch.Tensor], shapes: Mapping[str, torch.Size], folder: Path, *, tied: bool
) -> tuple[dict[str, torch.Tensor], bool]:
    """Hold the tensors of a file against the keys and shapes of the network.

    Args:
        tensors: of the file; changed.
        shapes: of the network, head and shared embedding included.
        folder: for messages.
        tied: whether the configuration ties the language model's head to its input embedding.

    Returns:
        One tensor for every key of ``shapes``, and whether the head is tied.

    Raises:
        BackendError: a key is missing, unknown or of another shape, or copies differ.
    """
    for key in [key for key in tensors if _ROTARY.fullmatch(key) or _OLD_MASKS.fullmatch(key)]:
        del tensors[key]
    shared = tensors.setdefault(_SHARED_COPY, tensors.get(_SHARED, torch.zeros(0)))
    if _SHARED in tensors and not torch.equal(shared, tensors[_SHARED]):
        raise BackendError(f"{folder}: {_SHARED_COPY} and {_SHARED} must be equal, but differ")
    inputs = next((tensors[key] for key in _INPUTS if key in tensors), None)
    if tied and inputs is not None:
        head = tensors.setdefault(_HEAD, inputs)
        # The public class unties the head when it reloads; trained on from there it may differ.
        tied = torch.equal(head, inputs)
    both = shapes.keys() & tensors.keys()
    faults = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - shapes.keys()),
        "of another shape": sorted(key for key in both if tensors[key].shape != shapes[key]),
    }
    if any(faults.values()):
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:2])}{', ...' if len(keys) > 2 else ''})"
            for what, keys in faults.items()
            if keys
        ]
        raise BackendError(
            f"{folder} must hold exactly the weights that its config.json describes, but has "
            f"{'; '.join(parts)}; copy the whole folder again"
        )
    return tensors, tied

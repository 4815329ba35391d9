"""Folders of transformers checkpoints, and what differs between the families of SAM."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from uosam.backends.weights.checkpoints import read_state_dict
from uosam.errors import BackendError


@dataclass(frozen=True, eq=False, kw_only=True)
class SamState:
    """What SAM decodes from: (1, C, h, w) features."""

    features: torch.Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class SamHqState:
    """What SAM-HQ decodes from: features, and (1, h, w, D) of its early blocks."""

    features: torch.Tensor
    early: list[torch.Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sam2State:
    """What SAM 2 decodes from: features, and two finer levels."""

    features: torch.Tensor
    finer: list[torch.Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Family:
    """What differs between the networks.

    Attributes:
        title: name for messages.
        network: class of transformers.
        state: class of the state of an embedding.
        pads: whether pictures are padded to the square, not stretched.
        mean: of the pixels of its training, for each channel, in [0, 1].
        std: their deviation.
        wants_point: whether a row of a mask alone needs a point of label -1.
        arrange: makes a state of what the encoder returns.
        decode: answers b prompts with logits (b, 1, m, 4h, 4w) and scores (b, 1, m).
    """

    title: str
    network: str
    state: type
    pads: bool
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    wants_point: bool = False
    arrange: Callable[[Any], Any]
    decode: Callable[..., tuple[torch.Tensor, torch.Tensor]]


def _decode(
    network: Any,
    features: torch.Tensor,
    sparse: torch.Tensor | None,
    dense: torch.Tensor,
    rows: int,
    multimask: bool,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    answers = network.mask_decoder(
        image_embeddings=features.to(dense.device).expand(rows, -1, -1, -1),
        image_positional_embeddings=network.get_image_wide_positional_embeddings().expand(
            rows, -1, -1, -1
        ),
        sparse_prompt_embeddings=sparse,
        # Without masks and points the encoder does not know how many rows there are.
        dense_prompt_embeddings=dense.expand(rows, -1, -1, -1),
        multimask_output=multimask,
        **others,
    )
    return answers[0], answers[1]


def _decode_sam(network: Any, state: SamState, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _decode(network, state.features, *rest)


def _decode_hq(network: Any, state: SamHqState, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _decode(
        network, state.features, *rest, hq_token_only=False, intermediate_embeddings=state.early
    )


def _decode_sam2(network: Any, state: Sam2State, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = rest[2]
    finer = [level.expand(rows, -1, -1, -1) for level in state.finer]
    return _decode(network, state.features, *rest, high_resolution_features=finer)


_SAM2 = Family(
    title="SAM 2",
    network="Sam2Model",
    state=Sam2State,
    pads=False,
    arrange=lambda found: Sam2State(
        features=found[-1].float(), finer=[level.float() for level in found[:-1]]
    ),
    wants_point=True,
    decode=_decode_sam2,
)

_SAM3 = replace(
    _SAM2,
    title="SAM 3's tracker",
    network="Sam3TrackerModel",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

_EDGETAM = replace(_SAM2, title="EdgeTAM", network="EdgeTamModel")

FAMILIES = {
    "sam": Family(
        title="SAM",
        network="SamModel",
        state=SamState,
        pads=True,
        arrange=lambda found: SamState(features=found.float()),
        decode=_decode_sam,
    ),
    "sam_hq": Family(
        title="SAM-HQ",
        network="SamHQModel",
        state=SamHqState,
        pads=True,
        arrange=lambda found: SamHqState(
            features=found[0].float(), early=[block.float() for block in found[1][:1]]
        ),
        decode=_decode_hq,
    ),
    "sam2": _SAM2,
    # The published SAM 2 folders are those of its video model, which holds the one for pictures.
    "sam2_video": _SAM2,
    "sam3_tracker": _SAM3,
    "sam3_tracker_video": _SAM3,
    # The published folder of SAM 3 holds detector and tracker; the latter is taken.
    "sam3_video": _SAM3,
    "edgetam": _EDGETAM,
    "edgetam_video": _EDGETAM,
}
"""``model_type`` of a folder's config.json to its network."""


def find_folder(checkpoint: str | None) -> tuple[Path, Family]:
    """Return the folder of a network and tell which network it is.

    Raises:
        BackendError: no folder, no config.json in it, or of a network that is not served.
    """
    if checkpoint is None:
        raise BackendError(
            "hf needs the local folder of a SAM, SAM-HQ, SAM 2, SAM 3 or EdgeTAM of transformers, "
            "got none; give --checkpoint FOLDER"
        )
    folder = Path(checkpoint).expanduser()
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise BackendError(
            f"{folder} must be a folder with config.json and weights, as save_pretrained writes "
            f"it, got {type(error).__name__}; nothing is downloaded"
        ) from error
    if kind not in FAMILIES:
        raise BackendError(
            f"{folder} must hold a network of type {', '.join(FAMILIES)}, got {kind!r}"
        )
    return folder, FAMILIES[kind]


def _weights(folder: Path) -> dict[str, Any]:
    """Return what transformers is given: the folder, or the tensors of a pickle.

    A pickle is read by this package, never by torch (docs/reliability.md).

    Raises:
        BackendError: a pickle that is damaged or asks to run something.
    """
    pickled = folder / "pytorch_model.bin"
    if not pickled.is_file() or any(folder.glob("*.safetensors*")):
        return {"pretrained_model_name_or_path": str(folder), "use_safetensors": True}
    config = importlib.import_module("transformers").AutoConfig.from_pretrained(
        str(folder), local_files_only=True
    )
    tensors = read_state_dict(pickled, "hf")
    return {"pretrained_model_name_or_path": None, "config": config, "state_dict": tensors}


def load_network(folder: Path, family: Family) -> Any:
    """Load a network from its folder, all of its weights, and nothing from the net.

    Raises:
        BackendError: transformers is missing or too old, or weights are missing or do not fit.
    """
    try:
        transformers = importlib.import_module("transformers")
        network = getattr(transformers, family.network)
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"hf needs the package transformers with {family.network}, which is not installed; "
            "get it with pip install 'uosam[hf]'"
        ) from error
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded, info = network.from_pretrained(
            **_weights(folder),
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except BackendError:
        raise
    except Exception as error:  # of its readers, each with a type of its own
        reason = " ".join(str(error).split())[:200]
        raise BackendError(
            f"{folder} must hold the weights of {family.title}, got {type(error).__name__}: "
            f"{reason}; save or copy the folder again"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise BackendError(
            f"{folder} must hold all weights of {family.title}, but {len(lacking)} are missing "
            f"({', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}); save the whole model"
        )
    return loaded

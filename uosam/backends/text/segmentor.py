"""Segmentors trained on named classes: any semantic one of transformers, from a local folder.

SSA's semantic branch (Chen, Yang and Zhang, "Semantic Segment Anything", 2023) in RGB: SegFormer,
UperNet and others score pixels; MaskFormer, Mask2Former, OneFormer and EoMT score masks.
"""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from uosam.backends.checks import check_image
from uosam.backends.device import choose_device
from uosam.backends.text.folders import (
    Config,
    library,
    load_network,
    load_processor,
    read_config,
)
from uosam.errors import BackendError
from uosam.structures import Floats, Image

PURPOSE = "a semantic segmentor"


def load(folder: str | Path, *, device: str = "auto") -> Segmentor:
    """Load the semantic segmentor in a folder.

    Args:
        folder: as ``save_pretrained`` writes it; a copy of its hub repository will do.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; every channel is a class, from 0.

    Raises:
        BackendError: the folder is missing, damaged or of another kind of model.
    """
    config = read_config(folder, PURPOSE)
    kind = str(config.get("model_type"))
    where = choose_device(device)
    prepare = _load_oneformer if kind == "oneformer" else _load_plain
    return Segmentor(
        network=load_network(folder, _loader(kind, folder), PURPOSE).to(where),
        prepare=prepare(Path(folder).expanduser(), config),
        device=where,
    )


def _loader(kind: str, folder: str | Path) -> str:
    """Return the Auto class of a ``model_type``.

    Raises:
        BackendError: none of them segments into classes with it.
    """
    auto = library(PURPOSE).models.auto.modeling_auto
    for name, table in (
        ("AutoModelForSemanticSegmentation", auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES),
        ("AutoModelForUniversalSegmentation", auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES),
    ):
        if kind in table:
            return name
    raise BackendError(
        f"{folder} must hold {PURPOSE} (segformer, upernet, mask2former, oneformer, eomt, ...), "
        f"got {kind!r}; give another folder"
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Preparation:
    """A processor of transformers for one picture at a time.

    Attributes:
        call: from pictures to the network's inputs.
        process: ``post_process_semantic_segmentation`` of the folder's image processor.
    """

    call: Callable[[Image], Any]
    process: Callable[..., Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentor:
    """A function from a picture to class scores.

    Attributes:
        network: in evaluation mode.
        prepare: the folder's processor.
        device: where it computes.
    """

    network: Any
    prepare: Preparation
    device: torch.device

    @property
    def names(self) -> dict[int, str]:
        """Return the names of the classes by id, as the folder has them."""
        return {int(id_): str(name) for id_, name in self.network.config.id2label.items()}

    @torch.inference_mode()
    def __call__(self, image: Image) -> Floats:
        """Return (K, H, W) scores of classes, in [0, 1], at the size of the picture.

        Raises:
            InputError: the picture is not (H, W, 3) uint8 or has no pixels.
            BackendError: the installed transformers does not give the scores of its masks.
        """
        check_image(image)
        hw = (image.shape[0], image.shape[1])
        inputs = dict(self.prepare.call(image).to(self.device))
        offsets = inputs.pop("patch_offsets", None)
        inputs.pop("pixel_mask", None)  # one picture at a time is never padded
        outputs = self.network(**inputs)
        if offsets is not None:
            outputs.patch_offsets = offsets
        if getattr(outputs, "logits", None) is not None:
            scores = F.interpolate(outputs.logits.float(), hw, mode="bilinear")[0].softmax(0)
        else:
            scores = self._scores_of_masks(outputs, hw)
        return np.asarray(scores.cpu().numpy(), np.float32)

    def _scores_of_masks(self, outputs: Any, hw: tuple[int, int]) -> torch.Tensor:
        process = self.prepare.process
        if "return_segmentation_scores" not in inspect.signature(process).parameters:
            raise BackendError(
                "scores of models that classify masks need a newer transformers (5.24 will do), "
                f"got {library(PURPOSE).__version__}; get it with pip install -U transformers"
            )
        found = process(outputs, target_sizes=[hw], return_segmentation_scores=True)[0]
        scores: torch.Tensor = found.segmentation_scores
        return scores.clamp(min=0)


def _load_plain(folder: Path, config: Config) -> Preparation:
    processor = load_processor(folder, PURPOSE, "AutoImageProcessor")
    return Preparation(
        call=lambda image: processor(images=[image], return_tensors="pt"),
        process=processor.post_process_semantic_segmentation,
    )


def _load_oneformer(folder: Path, config: Config) -> Preparation:
    """Load OneFormer's processor, whose list of classes lies in another repository of the hub.

    The list serves panoptic answers only; a stand-in from config.json's names is as good here.
    """
    names = config.get("id2label") or {}
    stand_in = {str(id_): {"name": name, "isthing": 0} for id_, name in names.items()}
    with tempfile.TemporaryDirectory() as place:
        Path(place, "classes.json").write_text(json.dumps(stand_in), encoding="utf-8")
        images = load_processor(
            folder,
            PURPOSE,
            "OneFormerImageProcessor",
            repo_path=place,
            class_info_file="classes.json",
        )
    tokenizer = load_processor(folder, PURPOSE, "AutoTokenizer")
    settings = {}
    if isinstance(config.get("task_seq_len"), int):
        settings["task_seq_length"] = config["task_seq_len"]
    both = library(PURPOSE).OneFormerProcessor(
        image_processor=images, tokenizer=tokenizer, **settings
    )
    return Preparation(
        call=lambda image: both(images=[image], task_inputs=["semantic"], return_tensors="pt"),
        process=images.post_process_semantic_segmentation,
    )

"""STEGO: unsupervised semantic segmentation by distilling feature correspondences.

Hamilton et al., ICLR 2022. A Lightning checkpoint holds everything; sizes are read off the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, take, tensors

from .codes import SIDE, CodeModel, build_head, by_cosine, guide_by_multiplying
from .dino_vit import dino_features

TEMPERATURE = 2.0


def load(
    path: str | Path,
    *,
    probe: Literal["cluster", "linear"] = "cluster",
    flip: bool = True,
    crf: bool = False,
    device: str = "auto",
) -> CodeModel:
    """Load a STEGO checkpoint.

    Args:
        path: the Lightning ``.ckpt``.
        probe: the unsupervised clusters, or the linear probe trained with labels.
        flip: average with the mirrored picture, as published.
        crf: sharpen with the dense CRF, as published; needs pydensecrf.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; every channel is a cluster, from 0, and
        there is no background.

    Raises:
        BackendError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    state = tensors(entry(read_checkpoint(path), "state_dict", path), path)
    where = choose_device(device)
    head = build_head(state, path, ("net.cluster1.0", "net.cluster2"), nn.ReLU()).to(where)
    classify: Callable[[torch.Tensor], torch.Tensor]
    if probe == "cluster":
        clusters = take(state, "cluster_probe.clusters", path).to(where)
        classify = by_cosine(clusters, TEMPERATURE)
    else:
        weight = take(state, "linear_probe.weight", path).to(where)
        bias = take(state, "linear_probe.bias", path).to(where)

        def classify(code: torch.Tensor) -> torch.Tensor:
            return F.log_softmax(F.conv2d(code, weight, bias), dim=1)

    return CodeModel(
        features=dino_features(tensors(state, path, prefix="net.model."), path, SIDE, where),
        head=head,
        classify=classify,
        flip=flip,
        guide=guide_by_multiplying if crf else None,
        device=where,
    )

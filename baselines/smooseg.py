"""SmooSeg: unsupervised semantic segmentation by a smoothness prior (Lan et al., NeurIPS 2023)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, take, tensors

from .codes import SIDE, CodeModel, build_head, by_cosine, guide_by_multiplying
from .dino_vit import dino_features
from .stego import TEMPERATURE


def load(
    path: str | Path, *, flip: bool = True, crf: bool = False, device: str = "auto"
) -> CodeModel:
    """Load a SmooSeg checkpoint with a DINO backbone.

    It differs from STEGO in the activation of its head, a SiLU, and in its class vectors: of the
    two sets in the file the slowly moving ``global_clusters`` count.

    Args:
        path: the Lightning ``.ckpt``.
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
    names = ("projection.cluster1.0", "projection.cluster2")
    clusters = take(state, "prediction.global_clusters", path).to(where)
    return CodeModel(
        features=dino_features(tensors(state, path, prefix="net.model."), path, SIDE, where),
        head=build_head(state, path, names, nn.SiLU()).to(where),
        classify=by_cosine(clusters, TEMPERATURE),
        flip=flip,
        guide=guide_by_multiplying if crf else None,
        device=where,
    )

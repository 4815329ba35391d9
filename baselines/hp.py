"""HP: leveraging hidden positives for unsupervised semantic segmentation (Seong et al., CVPR 2023).

A code and clusters as STEGO's, in a checkpoint of three parts, applied to one view.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, take, tensors

from .codes import SIDE, CodeModel, build_head, by_cosine, guide_by_multiplying
from .dino_vit import dino_features
from .stego import TEMPERATURE


def load(path: str | Path, *, crf: bool = False, device: str = "auto") -> CodeModel:
    """Load an HP checkpoint; of its networks the trained one counts, not the moving averages.

    Args:
        path: ``ckpt.pth``.
        crf: sharpen with the dense CRF, as published; needs pydensecrf.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; every channel is a cluster, from 0, and
        there is no background.

    Raises:
        BackendError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    content = read_checkpoint(path)
    state = tensors(entry(content, "net_model_state_dict", path), path)
    probe = tensors(entry(content, "cluster_model_state_dict", path), path)
    where = choose_device(device)
    return CodeModel(
        features=dino_features(tensors(state, path, prefix="model."), path, SIDE, where),
        head=build_head(state, path, ("cluster1.0", "cluster2"), nn.ReLU()).to(where),
        classify=by_cosine(take(probe, "clusters", path).to(where), TEMPERATURE),
        flip=False,
        guide=guide_by_multiplying if crf else None,
        device=where,
    )

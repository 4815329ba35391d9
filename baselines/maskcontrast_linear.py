"""MaskContrast's linear model: its frozen network and a classifier trained with labels.

Van Gansbeke et al., ICCV 2021. Supervised by Pascal VOC, hence no USS model; it is the other
number that the paper reports. The network is torchvision's DeepLab v3 on a ResNet of stride 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import ResNet
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import fill, take, tensors
from uosam.structures import Floats, Image

from .dense_crf import dense_crf
from .maskcontrast import SIDE, nearest_grid
from .pictures import check_picture, enlarge, normalise
from .resnet import build_resnet, stages


def load(path: str | Path, *, crf: bool = False, device: str = "auto") -> Linear:
    """Load the linear model.

    Args:
        path: ``best_model.pth.tar``, a bare state dict.
        crf: sharpen with the dense CRF at the size of the picture; needs pydensecrf.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; channel 0 is background.

    Raises:
        BackendError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    content = read_checkpoint(path)
    bare = tensors(content, path)
    state = {key.removeprefix("module."): value for key, value in bare.items()}
    classes = take(state, "decoder.4.weight", path).shape[0]
    where = choose_device(device)
    with torch.device("meta"):
        head = DeepLabHead(2048, classes)
    decoder = tensors(state, path, prefix="decoder.")
    return Linear(
        resnet=build_resnet(
            tensors(state, path, prefix="backbone."), path, dilated=True, ignored=("fc.",)
        ).to(where),
        head=fill(head, decoder, path).to(where),
        crf=crf,
        device=where,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear:
    """A network that classifies pixels.

    Attributes:
        resnet: of stride 8, without its classifier.
        head: the DeepLab head.
        crf: whether the dense CRF follows.
        device: where both are.
    """

    resnet: ResNet
    head: nn.Module
    crf: bool
    device: torch.device

    @torch.inference_mode()
    def __call__(self, image: Image) -> Floats:
        """Score a picture squashed to a square: logits (K, H, W), or probabilities of the CRF.

        The argmax is the published map, brought to the picture by OpenCV's nearest neighbour; the
        CRF gets logits enlarged bilinearly and the picture in its own size.
        """
        check_picture(image)
        squashed = np.asarray(
            cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8
        )
        logits = self.head(stages(self.resnet, normalise(squashed, self.device))[-1])
        square = F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
        if self.crf:
            whole = enlarge(F.log_softmax(square, dim=1).cpu(), image.shape[:2])
            return dense_crf(whole, np.ascontiguousarray(image[:, :, ::-1]))
        rows, cols = nearest_grid(image.shape[:2])
        found: Floats = square[0].cpu().numpy()[:, rows][:, :, cols]
        return found

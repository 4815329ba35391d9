"""What CAUSE, STEGO and SmooSeg share: a code per cell, two views, cosine with class vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.weights.state_dict import Tensors, fill, take
from uosam.structures import Floats, Image

from .dense_crf import dense_crf
from .pictures import DEVIATION, MEAN, NEAREST, normalise, score_by_squares

SIDE = 320
"""Short side of the resized picture, and side of the square that is scored."""

Guide = Callable[[torch.Tensor], Image]
"""Turns (1, 3, h, w) normalised pixels back into the (h, w, 3) BGR guide of the dense CRF."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CodeModel:
    """A segmenter of squares whose classes are directions in a code space.

    Attributes:
        features: maps (1, 3, S, S) pixels to (1, D, n, n).
        head: maps features to codes (1, E, n, n).
        classify: maps codes (1, E, S, S) to log-probabilities (1, K, S, S).
        flip: average the code with that of the mirrored picture, as the published tests do.
        guide: makes the guide of the dense CRF; None leaves the CRF out.
        device: where the networks are.
    """

    features: Callable[[torch.Tensor], torch.Tensor]
    head: Callable[[torch.Tensor], torch.Tensor]
    classify: Callable[[torch.Tensor], torch.Tensor]
    flip: bool
    guide: Guide | None
    device: torch.device

    def __call__(self, image: Image) -> Floats:
        """Score a picture of any size; see ``score_by_squares`` for what lies off the centre."""
        return score_by_squares(image, self.score_square, resample=NEAREST, side=SIDE)

    def score_square(self, square: Image) -> Floats:
        """Score (S, S, 3) RGB: (K, S, S) log-probabilities, or probabilities of the CRF."""
        pixels = normalise(square, self.device)
        scores = self.log_probabilities(pixels)[0].cpu().numpy()
        return scores if self.guide is None else dense_crf(scores, self.guide(pixels.cpu()))

    @torch.inference_mode()
    def code(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the code of (1, 3, S, S) pixels on the patch grid, of one view or both."""
        first = self.head(self.features(pixels))
        if not self.flip:
            return first
        return (first + self.head(self.features(pixels.flip(-1))).flip(-1)) / 2

    @torch.inference_mode()
    def log_probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (1, K, S, S) log-probabilities: codes are enlarged, then classified."""
        size = pixels.shape[2:]
        code = F.interpolate(self.code(pixels), size, mode="bilinear", align_corners=False)
        return self.classify(code)


class CodeHead(nn.Module):
    """The sum of a linear and a two-layer map of every cell.

    Attributes:
        linear: D channels to E.
        nonlinear: D to D, an activation, D to E.
    """

    def __init__(self, inputs: int, outputs: int, activation: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Conv2d(inputs, outputs, 1)
        self.nonlinear = nn.Sequential(
            nn.Conv2d(inputs, inputs, 1), activation, nn.Conv2d(inputs, outputs, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, D, h, w) to (B, E, h, w)."""
        code: torch.Tensor = self.linear(features) + self.nonlinear(features)
        return code


def build_head(
    state: Tensors, path: Path, names: tuple[str, str], activation: nn.Module
) -> CodeHead:
    """Build the head whose linear and two-layer parts have the given names in the file.

    Raises:
        BackendError: tensors are missing or of another shape.
    """
    renamed = {
        ours + key[len(theirs) :]: value
        for theirs, ours in zip(names, ("linear", "nonlinear"), strict=True)
        for key, value in state.items()
        if key.startswith(theirs + ".")
    }
    outputs, inputs = take(renamed, "linear.weight", path).shape[:2]
    with torch.device("meta"):
        head = CodeHead(inputs, outputs, activation)
    fill(head, renamed, path)
    return head


def by_cosine(vectors: torch.Tensor, temperature: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Classify codes by their cosine with (K, E) class vectors, times a temperature."""
    directions = F.normalize(vectors, dim=1)

    def classify(code: torch.Tensor) -> torch.Tensor:
        cosine = torch.einsum("behw,ke->bkhw", F.normalize(code, dim=1), directions)
        return F.log_softmax(temperature * cosine, dim=1)

    return classify


def guide_by_multiplying(pixels: torch.Tensor) -> Image:
    """Undo the normalisation as STEGO and SmooSeg do: times deviation, plus mean."""
    deviation, mean = (torch.tensor(values).view(1, 3, 1, 1) for values in (DEVIATION, MEAN))
    return _to_bgr(pixels * deviation + mean)


def guide_by_dividing(pixels: torch.Tensor) -> Image:
    """Undo the normalisation as CAUSE does: by 1 / deviation; 6 % of the bytes differ by one."""
    inverse = torch.tensor([1 / value for value in DEVIATION]).view(1, 3, 1, 1)
    return _to_bgr(pixels / inverse + torch.tensor(MEAN).view(1, 3, 1, 1))


def _to_bgr(pixels: torch.Tensor) -> Image:
    # The published programs cut to bytes where rounding would undo the normalisation exactly.
    rgb = (pixels[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(rgb[:, :, ::-1])

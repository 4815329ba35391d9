"""A taught student as a model of ``uosam coarse``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from uosam.backends.checks import check_image
from uosam.backends.device import choose_device, out_of_memory
from uosam.backends.imagenet.network import fit_long_side
from uosam.backends.student.files import read_student
from uosam.backends.student.network import Student
from uosam.errors import BackendError
from uosam.structures import Floats, Image


def load(
    path: str | Path, *, side: int | None = None, flip: bool = True, device: str = "auto"
) -> Callable[[Image], Floats]:
    """Load a student.

    Args:
        path: ``student.safetensors`` as ``uosam retrain`` writes it.
        side: long side at which a picture is seen; None for the side it was taught with.
        flip: look at the mirrored picture too, and take the mean.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to probabilities (K, H, W); channels are ids.

    Raises:
        BackendError: the file is no student, or the device is not there.
    """
    student, facts = read_student(Path(path))
    where = choose_device(device)
    return partial(score, student=student.to(where), side=side or facts.side, flip=flip)


@torch.inference_mode()
def score(image: Image, *, student: Student, side: int, flip: bool = True) -> Floats:
    """Return probabilities (K, H, W) of (H, W, 3) RGB.

    Raises:
        InputError: the array is no picture.
        BackendError: it does not fit into the device's memory.
    """
    check_image(image)
    seen = fit_long_side(image, side)
    device = next(student.parameters()).device
    pixels = torch.from_numpy(seen.transpose(2, 0, 1)[None].copy()).to(device)
    if flip:
        pixels = torch.cat([pixels, pixels.flip(3)])
    try:
        shares = student(pixels).softmax(dim=1)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise BackendError(
            f"not enough memory on the device for a picture of {seen.shape[0]} x {seen.shape[1]}; "
            "use --device cpu or a smaller -s side=N"
        ) from error
    if flip:
        shares = (shares[:1] + shares[1:].flip(3)) / 2
    enlarged = F.interpolate(shares, image.shape[:2], mode="bilinear", align_corners=False)
    return np.asarray(enlarged[0].cpu().numpy(), np.float32)

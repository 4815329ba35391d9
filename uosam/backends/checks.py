"""What every backend refuses, in one line each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uosam.backends.models import with_levels
from uosam.errors import BackendError, InputError
from uosam.structures import Embedding, Image, Prompts


def check_image(image: Image) -> None:
    """Refuse what no encoder can take.

    Raises:
        InputError: the array is not (H, W, 3) uint8 or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"a picture must be (H, W, 3) uint8 RGB with at least one pixel, got "
            f"{image.shape} {image.dtype}; convert it first"
        )


def check_mask_prompts(prompts: Prompts, embedding: Embedding) -> None:
    """Refuse mask prompts that are not on the logit grid of an embedding.

    Raises:
        InputError: both sizes.
    """
    if prompts.logits is not None and prompts.logits.shape[1:] != embedding.logits_hw:
        raise InputError(
            f"Prompts.logits must be (B, {embedding.logits_hw[0]}, {embedding.logits_hw[1]}) "
            f"for this embedding, got {prompts.logits.shape}; bring masks onto the logit grid "
            "with uosam.labels.to_grid(mask, embedding, scale=LOGIT_SCALE)"
        )


def check_state(embedding: Embedding, kind: type, maker: str) -> None:
    """Refuse an embedding that another backend has made.

    Args:
        embedding: to be decoded.
        kind: of the state that this backend makes.
        maker: what to call this backend.

    Raises:
        InputError: its state is of another kind.
    """
    if not isinstance(embedding.state, kind):
        raise InputError(
            f"decode needs an embedding made by embed of {maker}, got one with state "
            f"{type(embedding.state).__name__}; embed the picture with this backend first"
        )


def check_levels(prompts: Prompts, name: str, count: int) -> None:
    """Refuse levels of granularity that a backend does not have.

    Args:
        prompts: to be answered.
        name: what to call the backend.
        count: how many levels it has; 0 for one without.

    Raises:
        InputError: levels are asked of a backend without, or beyond those it has.
    """
    if prompts.levels is None:
        return
    if not count:
        raise InputError(
            f"{name} has no levels of granularity; leave them out, or use a model that has: "
            f"{', '.join(with_levels())}"
        )
    highest = int(prompts.levels.max(initial=0))
    if highest > count:
        raise InputError(f"{name} has levels 1 to {count}, got {highest}")


def check_whole(prompts: Prompts, name: str, *, answers: bool) -> None:
    """Refuse rows that ask for whole objects where a backend does not know the question.

    Args:
        prompts: to be answered.
        name: what to call the backend.
        answers: its ``answers_whole``.

    Raises:
        BackendError: a row has ``whole`` set, and the backend does not answer it.
    """
    if prompts.asks_whole and not answers:
        raise BackendError(
            f"{name} cannot be asked for the whole object behind a mask prompt (Prompts.whole); "
            "leave it out, or use a backend whose answers_whole is true, such as tiny"
        )


def spread_levels(levels: NDArray[np.int8], count: int) -> NDArray[np.int8]:
    """Say for every row and level whether it is asked for.

    Args:
        levels: (b, L) of prompts, 0 as padding.
        count: of levels.

    Returns:
        (b, count) the level itself where it is asked for, else 0.

    >>> spread_levels(np.array([[1, 3], [2, 0]], np.int8), 3).tolist()
    [[1, 0, 3], [0, 2, 0]]
    """
    every = np.arange(1, count + 1, dtype=np.int8)
    asked = (levels[:, :, None] == every).any(axis=1)
    return np.where(asked, every, 0).astype(np.int8)

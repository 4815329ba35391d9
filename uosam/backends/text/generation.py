"""Let a language model of transformers put a phrase to each row, greedily or by beams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from uosam.backends.device import out_of_memory, too_large
from uosam.backends.text.folders import library

Found = TypeVar("Found")

MOST_TOKENS = 19
"""New tokens at most: what the public SCA gets from its library's default of 20 with a bos."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How phrases are searched for.

    Attributes:
        beams: width of the search, 1 is greedy.
        most: new tokens at most.
        eos: id that ends a phrase.
        pad: id that fills the rows of a batch; ``eos`` where the model has none.
    """

    beams: int = 3
    most: int = MOST_TOKENS
    eos: int
    pad: int


def generate(
    model: Any, inputs: Mapping[str, Any], options: Generation, *, given: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generate one row of ids for each row of inputs.

    Args:
        model: with ``generate`` of transformers.
        inputs: its keyword arguments, such as ``inputs_embeds`` (B, L, D).
        options: how to search.
        given: ids at the head of every row that the model was given and did not write.

    Returns:
        (B, n) new ids, ``pad`` after the end; and (B,) scores: the sum of their log probabilities
        over their number, the end counted.
    """
    generation_config = library("a captioner").GenerationConfig
    # A fresh one: what a folder says of generation must not change what is asked for here. The
    # length is always given: its default depends on the version of the library.
    config = generation_config(
        max_new_tokens=options.most,
        num_beams=options.beams,
        do_sample=False,
        eos_token_id=options.eos,
        pad_token_id=options.pad,
        return_dict_in_generate=True,
        output_scores=True,
    )
    found = model.generate(**inputs, generation_config=config)
    ids = found.sequences[:, given:]
    beams = getattr(found, "beam_indices", None)
    steps = model.compute_transition_scores(
        found.sequences, found.scores, beams, normalize_logits=beams is None
    )
    steps = steps[:, -ids.shape[1] :] if ids.shape[1] else steps[:, :0]
    ends = (ids == options.eos).cumsum(1)
    alive = (ends - (ids == options.eos).long()) == 0  # up to the first end, that included
    steps = torch.where(alive[:, : steps.shape[1]], steps, torch.zeros_like(steps))
    return ids, steps.sum(1) / alive.sum(1).clamp(min=1)


def words(tokenizer: Any, ids: torch.Tensor) -> list[str]:
    """Return the text of each row, special tokens dropped and white space collapsed."""
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


def in_halves(
    parts: Iterable[NDArray[np.int64]],
    device: torch.device,
    do: Callable[[NDArray[np.int64]], Found],
) -> Iterator[tuple[NDArray[np.int64], Found]]:
    """Yield what comes of each part, in order; one that does not fit into memory is halved.

    Raises:
        BackendError: a single row does not fit.
    """
    waiting = list(parts)[::-1]
    while waiting:
        part = waiting.pop()
        try:
            yield part, do(part)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(part) < 2:
                raise too_large(device, 1) from error
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]

"""Decoding prompts in batches: what every network backend shares and no network knows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from uosam.backends.checks import spread_levels
from uosam.backends.device import on_host, out_of_memory
from uosam.backends.grids import Enlargement, GridMasks, logits_of
from uosam.demand import given
from uosam.errors import BackendError, InputError
from uosam.structures import Embedding, Floats, Prompts, Proposals

STABILITY_OFFSET = 1.0
"""SAM's stability score compares the mask cut at logits minus and plus this value."""

FEW = 32
"""Prompts without masks about one picture that do not keep an accelerator busy by themselves."""


def real_points(
    prompts: Prompts, rows: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int8]] | None:
    """Return the points (b, n, 2) and labels (b, n) of rows that have as many; None without any.

    Padding is taken off, for SAM has no way to mask it.
    """
    labels = prompts.point_labels[rows]
    padding = labels < 0
    count = int((~padding[0]).sum())
    if not count:
        return None
    first = np.argsort(padding, axis=1, kind="stable")[:, :count]
    points = np.take_along_axis(prompts.points[rows], first[..., None], axis=1)
    return points, np.take_along_axis(labels, first, axis=1)


def decode_in_batches(
    decode_rows: Callable[[NDArray[np.int64]], Proposals],
    prompts: Prompts,
    embedding: Embedding,
    batch_size: int,
) -> Proposals:
    """Decode all rows, those with as many real points together, halving what does not fit.

    Args:
        decode_rows: answers some rows of ``prompts``, all with the same number of real points.
        prompts: each row has at least one point, a box or a mask.
        embedding: of the picture; gives the sizes of an empty answer.
        batch_size: rows given to ``decode_rows`` at a time at most.

    Returns:
        The answers in order of row.

    Raises:
        InputError: a row has neither point nor box nor mask.
        BackendError: a single row does not fit into memory.
    """
    parts = []
    for group in rows_of_equal_points(prompts):
        size, start = batch_size, 0
        while start < len(group):
            rows = group[start : start + size]
            try:
                parts.append(decode_rows(rows))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if len(rows) == 1:
                    raise BackendError(
                        "not enough memory on the device to decode one prompt; use --device cpu "
                        "or smaller pictures"
                    ) from error
                size = len(rows) // 2
            else:
                start += len(rows)
    return _join(parts, embedding)


class Part(NamedTuple):
    """Rows of the prompts about one picture, all with the same number of real points."""

    embedding: Embedding
    prompts: Prompts
    rows: NDArray[np.int64]


def decode_across(
    asked: Sequence[tuple[Embedding, Prompts]],
    decode_parts: Callable[[Sequence[Part]], list[Proposals]],
    decode_alone: Callable[[Embedding, Prompts], Proposals],
    batch_size: int,
    few: int = 0,
) -> list[Proposals]:
    """Decode in batches that span pictures: prompts with masks, and the others if they are few.

    Args:
        asked: pictures and what is asked about each.
        decode_parts: answers rows of several pictures that ask with the same kinds of prompts.
        decode_alone: answers all that is asked about one picture.
        batch_size: rows given to ``decode_parts`` at a time at most.
        few: rows about one picture, without masks, up to which they are put together with those
            about others; more of them are answered alone.

    Returns:
        The answers about each picture, in order of row.
    """
    kinds: dict[tuple[int, bool, bool, bool], list[tuple[int, int]]] = defaultdict(list)
    alone = set()
    for index, (_, prompts) in enumerate(asked):
        if prompts.logits is None and not 0 < len(prompts.labels) <= few:
            alone.add(index)
            continue
        for rows in rows_of_equal_points(prompts):
            count = int((prompts.point_labels[rows[0]] >= 0).sum())
            kind = count, prompts.boxes is None, prompts.logits is None, prompts.levels is None
            kinds[kind] += [(index, int(row)) for row in rows]
    found: dict[int, list[Proposals]] = defaultdict(list)
    for places in kinds.values():
        for start in range(0, len(places), batch_size):
            batch: dict[int, list[int]] = defaultdict(list)
            for index, row in places[start : start + batch_size]:
                batch[index].append(row)
            parts = [Part(*asked[index], np.array(rows)) for index, rows in batch.items()]
            for index, answer in zip(batch, decode_parts(parts), strict=True):
                found[index].append(answer)
    return [
        decode_alone(embedding, prompts) if index in alone else _join(found[index], embedding)
        for index, (embedding, prompts) in enumerate(asked)
    ]


def rows_of_equal_points(prompts: Prompts) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of every number of real points, in rising order of both.

    Raises:
        InputError: a row has neither point nor box nor mask.
    """
    counts = (prompts.point_labels >= 0).sum(axis=1)
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        if not count and prompts.boxes is None and prompts.logits is None:
            raise InputError(
                f"every row of Prompts must have a point, a box or a mask, got none in row "
                f"{rows[0]}; drop the row"
            )
        yield rows


def stability(logits: torch.Tensor, height: float, width: float) -> torch.Tensor:
    """Return the stability score of logit grids; 0 for a mask that is empty at both cuts.

    Args:
        logits: (..., h, w).
        height: fraction of the grid's rows that the picture covers.
        width: fraction of the grid's columns that the picture covers.
    """
    rows, cols = logits.shape[-2:]
    covered = logits[..., : math.ceil(rows * height), : math.ceil(cols * width)]
    # The stricter cut lies inside the looser one: they are intersection and union themselves.
    inner = _count(covered > STABILITY_OFFSET)
    outer = _count(covered > -STABILITY_OFFSET)
    return inner / outer.clamp(min=1)


def _count(cut: torch.Tensor) -> torch.Tensor:
    """Count what is true in each (h, w) of (..., h, w)."""
    if not on_host(cut):
        return cut.sum((-1, -2))
    # NumPy counts truth values in a tenth of the time.
    masks = cut.reshape(math.prod(cut.shape[:-2]), *cut.shape[-2:]).numpy()
    return torch.tensor([np.count_nonzero(mask) for mask in masks]).view(cut.shape[:-2])


def by_area(
    logits: torch.Tensor, scores: torch.Tensor, levels: NDArray[np.int8]
) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int8]]:
    """Put the masks of every row in falling order of area, and number them from 1.

    Args:
        logits: (b, m, 4h, 4w).
        scores: (b, m).
        levels: (b, L) asked for, 0 as padding.

    Returns:
        logits and scores in that order, and (b, m) levels, 0 where not asked for.
    """
    order = _count(logits > 0).argsort(dim=1, descending=True, stable=True)
    row = torch.arange(len(logits), device=order.device)[:, None]
    logits, scores = logits[row, order], scores[row, order]
    return logits, scores, spread_levels(levels, scores.shape[1])


def keep(
    logits: torch.Tensor,
    scores: torch.Tensor,
    rows: NDArray[np.int64],
    how: Enlargement,
    *,
    min_score: float,
    min_stability: float,
    level: NDArray[np.int8] | None = None,
) -> Proposals:
    """Drop hopeless masks; the others are enlarged when somebody asks for them.

    Args:
        logits: (b, m, 4h, 4w) m masks for each of b rows.
        scores: (b, m) estimates of IoU; clipped to [0, 1].
        rows: (b,) which row of the prompts each stands for.
        how: masks are enlarged.
        min_score: least score.
        min_stability: least stability, on the logit grid.
        level: (b, m) level of every mask, 0 for one that is not wanted; None where there are none.
    """
    scores = scores.float().clamp(0, 1)
    good = scores >= min_score
    if level is not None:
        good &= torch.from_numpy(level > 0).to(good.device)
    logits = logits[good].float()
    steadiness = stability(logits, *how.covered)
    kept = steadiness >= min_stability
    logits = logits[kept]
    row, column = good.nonzero()[kept].cpu().numpy().T
    return Proposals(
        masks=GridMasks(logits=logits, how=how),
        scores=scores[good][kept].cpu().numpy(),
        stability=steadiness[kept].cpu().numpy(),
        logits=logits_of(logits),
        row=rows[row],
        level=np.zeros(len(row), np.int8) if level is None else level[row, column],
    )


def enlarge_padded(
    logits: torch.Tensor, side: int, covered_hw: tuple[int, int], image_hw: tuple[int, int]
) -> torch.Tensor:
    """Bring masks to the size of a picture by way of the square that it was padded to, as SAM does.

    One step from grid to picture would be simpler, but changes one pixel in a thousand.

    Args:
        logits: (k, 1, 4h, 4w).
        side: of the square in pixels.
        covered_hw: size of the picture inside the square.
        image_hw: size of the picture.

    Returns:
        (k, 1, H, W) logits.
    """
    rows, cols = covered_hw
    if not on_host(logits):
        square = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        return F.interpolate(square[..., :rows, :cols], image_hw, mode="bilinear")
    # OpenCV interpolates the same way, in a tenth of the time.
    enlarged = np.empty((len(logits), 1, *image_hw), np.float32)
    for grid, out in zip(logits[:, 0].numpy(), enlarged[:, 0], strict=True):
        cv2.resize(cv2.resize(grid, (side, side))[:rows, :cols], image_hw[::-1], dst=out)
    return torch.from_numpy(enlarged)


def _join(parts: list[Proposals], embedding: Embedding) -> Proposals:
    """Put the answers of batches together in order of row."""
    if not parts:
        return Proposals(
            masks=np.zeros((0, *embedding.image_hw), np.bool_),
            scores=np.zeros(0, np.float32),
            stability=np.zeros(0, np.float32),
            logits=np.zeros((0, *embedding.logits_hw), np.float32),
            row=np.zeros(0, np.int64),
        )
    if len(parts) == 1:
        return parts[0]
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")
    masks = GridMasks.joined([given(part, "masks") for part in parts], order)
    return Proposals(
        masks=masks,
        scores=np.concatenate([part.scores for part in parts])[order],
        stability=np.concatenate([part.stability for part in parts])[order],
        logits=logits_of(masks.logits),
        row=row[order],
        level=np.concatenate([part.level for part in parts])[order],
    )

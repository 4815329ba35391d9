"""One step of training: encode crops, answer prompts, correct some of the answers, compare."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from uosam.training.data.batches import Batch
from uosam.training.decoding import decode_rows, encode_points, show_detail
from uosam.training.objective import Loss, objective

_CORRECT = 0.5  # how often a second decode gets a point where the first was wrong
_CORRECT_MASK = 0.25  # the same, where a coarse mask was given: the refiner adds none


def run_step(
    sam: Sam, batch: Batch, *, iterate: float, seed: int, autocast: bool
) -> tuple[Loss, Loss | None]:
    """Return the losses of a batch, the second one of a decode from the first one's masks.

    Args:
        sam: the network in training mode.
        batch: on the device of the network.
        iterate: how often there is a second decode, in [0, 1].
        seed: with the batch's step number, of everything random here.
        autocast: whether encoder and decoder compute in bfloat16.
    """
    device = batch.images.device
    generator = torch.Generator().manual_seed(seed * 1_000_003 + batch.step)
    # Drawing places on the device saves waiting for it; a run is only repeated on its own machine.
    placing = torch.Generator(device).manual_seed(seed * 1_000_003 + batch.step)
    rows = len(batch.targets) // len(batch.images)
    targets = batch.targets.float() / 255
    known = batch.known.float().repeat_interleave(rows, 0)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
        features, detail = show_detail(sam, sam.image_encoder(normalise(sam, batch)))
    features, detail = (value.repeat_interleave(rows, 0) for value in (features, detail))
    # Places are relative to the crop: taught anywhere in the square, position codes took many times
    # as long to be understood.
    places = sam.prompt_encoder.pe_layer(tuple(features.shape[-2:]))[None]
    places = places.expand(len(features), -1, -1, -1)
    points, labels = batch.points, batch.labels
    masks = None if batch.masks is None else batch.masks.float()
    whole = batch.whole
    others = None if batch.others is None else batch.others.float() / 255
    side = batch.images.shape[1]

    def answer(
        points: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse = encode_points(sam, points, labels, side)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            return decode_rows(sam, features, places, sparse, masks, whole, detail)

    logits, scores = answer(points, labels, masks)
    ambiguous = batch.pattern.ambiguous
    first = objective(logits, scores, targets, known, others=others, ambiguous=ambiguous)
    if torch.rand((), generator=generator).item() >= iterate:
        return first, None
    best = scores[:, 1:].argmax(dim=1) + 1
    masks = logits[torch.arange(len(best), device=device), best].detach().float()
    often = _CORRECT_MASK if batch.pattern.mask else _CORRECT
    if torch.rand((), generator=generator).item() < often:
        where, inside = correction(masks, targets, known, placing)
        points = torch.cat([where[:, None], points], dim=1)
        labels = torch.cat([inside[:, None], labels], dim=1)
    logits, scores = answer(points, labels, masks)
    return first, objective(logits, scores, targets, known, ambiguous=False)


def normalise(sam: Sam, batch: Batch) -> torch.Tensor:
    """Bring the crops to (P, 3, S, S) in the network's range, 0 beyond the pictures' edges."""
    pixels = batch.images.permute(0, 3, 1, 2).float()
    scaled = (pixels - sam.pixel_mean) / sam.pixel_std * batch.inside[:, None]
    ordered: torch.Tensor = scaled.contiguous(memory_format=torch.channels_last)
    return ordered


def correction(
    masks: torch.Tensor, targets: torch.Tensor, known: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a point where a mask is wrong, preferably deep inside the error.

    Source: "Segment Anything" (2023), appendix A, interactive training.

    Args:
        masks: (B, h, w) logits at half the size of the crops.
        targets: (B, h, w) share of the object.
        known: (B, h, w) 1 where ground truth counts.
        generator: of everything random, on the device of the masks.

    Returns:
        (B, 2) x, y in pixels of the crop, and (B,) label 1 or 0; where nothing is wrong, any place
        and its own label.
    """
    real = targets > 0.5
    wrong = (((masks > 0) != real) & (known > 0)).float()
    deep = -F.max_pool2d(-wrong[:, None], 3, 1, 1)[:, 0]
    chance = (deep + 1e-3 * wrong + 1e-9).flatten(1)
    chosen = torch.multinomial(chance, 1, generator=generator)[:, 0]
    rows, cols = chosen // masks.shape[2], chosen % masks.shape[2]
    inside = real[torch.arange(len(real), device=masks.device), rows, cols].long()
    # A cell of the half-size grid covers two pixels.
    return torch.stack([2 * cols + 0.5, 2 * rows + 0.5], dim=1).float(), inside

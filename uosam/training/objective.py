"""What training minimises: SAM's objective on the grid of the logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

_EDGE_WEIGHT = 3.0  # added to the cross-entropy of cells near an outline
_EDGE_WINDOW = 9  # cells
_UNUSED_WEIGHT = 0.05  # of the two outputs that were not best, so that none is lost
_SINGLE_WEIGHT = 0.3  # of the single output where a click has several right answers


@dataclass(frozen=True, eq=False, kw_only=True)
class Loss:
    """Objective and what it says.

    Attributes:
        total: scalar with gradient.
        chosen: (B,) IoU of the mask that the model itself deems best of its three.
        single: (B,) IoU of its single output.
        error: (B,) mean absolute error of its estimates of IoU.
    """

    total: torch.Tensor
    chosen: torch.Tensor
    single: torch.Tensor
    error: torch.Tensor

    def said(self) -> Loss:
        """Return the numbers without the way they came about."""
        return replace(self, total=self.total.detach())


def objective(
    logits: torch.Tensor,
    scores: torch.Tensor,
    targets: torch.Tensor,
    known: torch.Tensor,
    *,
    others: torch.Tensor | None = None,
    ambiguous: bool,
) -> Loss:
    """Compare four masks a row with the object.

    Cross-entropy plus Dice for each mask; of the three masks the best one counts, the single one
    counts always; the estimates of IoU by their squared error. Source: Kirillov et al., "Segment
    Anything" (2023), section 3 and appendix A, with cross-entropy, more near outlines, in place of
    the focal loss.

    Args:
        logits: (B, 4, h, w) the single output, then the three.
        scores: (B, 4) estimates of IoU.
        targets: (B, h, w) share of the object in each cell, in [0, 1].
        known: (B, h, w) 1 where ground truth counts, else 0.
        others: (B, h, w) another object that is as right, for which the three masks have to leave
            room and by which their estimates are judged as well; None without.
        ambiguous: whether a single click asked.
    """
    logits, scores = logits.float(), scores.float()
    each, overlap = _compare(logits, targets, known)
    three = each[:, 1:]
    best = three.min(dim=1).values
    meant = overlap
    if others is not None:
        second, shared = _compare(logits, others, known)
        best = (best + second[:, 1:].min(dim=1).values) / 2
        # Which of two right answers was meant nobody can tell.
        meant = torch.maximum(overlap, shared)
    total = (
        best.mean()
        + _UNUSED_WEIGHT * three.mean()
        + (_SINGLE_WEIGHT if ambiguous else 1.0) * each[:, 0].mean()
        + F.mse_loss(scores, meant)
    )
    chosen = scores[:, 1:].argmax(dim=1, keepdim=True)
    return Loss(
        total=total,
        chosen=overlap[:, 1:].gather(1, chosen)[:, 0],
        single=overlap[:, 0],
        error=(scores - meant).abs().mean(dim=1).detach(),
    )


def _compare(
    logits: torch.Tensor, targets: torch.Tensor, known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return loss and IoU (B, m) of masks (B, m, h, w) with one target each row."""
    half = _EDGE_WINDOW // 2
    around = F.avg_pool2d(targets[:, None], _EDGE_WINDOW, 1, half)[:, 0]
    weight = (1 + _EDGE_WEIGHT * ((around > 0.05) & (around < 0.95)).float()) * known
    truth = targets[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (
        torch.einsum("bmhw,bhw->bm", entropy, weight) / weight.sum((1, 2)).clamp(min=1)[:, None]
    )
    inside = logits.sigmoid()
    shared = torch.einsum("bmhw,bhw->bm", inside, targets * known)
    sizes = torch.einsum("bmhw,bhw->bm", inside, known) + (targets * known).sum((1, 2))[:, None]
    dice = 1 - (2 * shared + 1) / (sizes + 1)
    with torch.no_grad():
        found = (logits > 0) & (known > 0)[:, None]
        real = ((targets > 0.5) & (known > 0))[:, None]
        common = (found & real).sum((2, 3)).float()
        union = (found | real).sum((2, 3)).float()
        overlap = common / union.clamp(min=1)
    return 2 * entropy + dice, overlap

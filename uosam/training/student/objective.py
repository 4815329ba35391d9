"""What the student is asked to say: the masks where they are sure, the teacher where it is sure."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_HEAVIEST = 5.0  # a class of a few cells must not rule a step


def class_weights(shares: torch.Tensor, power: float) -> torch.Tensor:
    """Return (K,) weights by rarity, whose mean over all cells is 1; absent ids have none.

    >>> [round(w, 2) for w in class_weights(torch.tensor([0.8, 0.2, 0.0]), 0.5).tolist()]
    [0.83, 1.67, 0.0]
    """
    present = shares > 0
    raw = torch.where(present, shares.clamp(min=1e-12) ** -power, torch.zeros_like(shares))
    raw = raw / (raw * shares).sum()
    return torch.where(present, raw.clamp(max=_HEAVIEST), raw)


def soften(labels: torch.Tensor, confusion: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return (P, K, h, w) targets: the label, and a share for the classes it is confused with.

    Source: "Delving deep into label smoothing" (Zhang et al., 2021), with what the teacher says of
    the pixels of each label in place of a uniform share.

    Args:
        labels: (P, h, w) ids; IGNORE counts as 0.
        confusion: (K, K) what the teacher says where a label stands; rows sum to 1.
        smoothing: the share, in [0, 1).
    """
    known = labels.clamp(min=0)
    hard = F.one_hot(known, len(confusion)).float()
    soft = (1 - smoothing) * hard + smoothing * confusion[known]
    return soft.permute(0, 3, 1, 2)


@torch.no_grad()
def update_confusion(
    confusion: torch.Tensor, labels: torch.Tensor, said: torch.Tensor, decay: float = 0.9
) -> torch.Tensor:
    """Move (K, K) rows of labels that occur towards the teacher's mean probabilities (P, K, h, w).

    Args:
        confusion: as it was.
        labels: (P, h, w) ids and IGNORE.
        said: the teacher's probabilities.
        decay: share of the old row that stays.
    """
    classes = len(confusion)
    known = labels >= 0
    rows = F.one_hot(labels[known], classes).float()
    means = rows.T @ said.permute(0, 2, 3, 1)[known]
    counts = rows.sum(dim=0)[:, None]
    fresh = means / counts.clamp(min=1)
    return torch.where(counts > 0, decay * confusion + (1 - decay) * fresh, confusion)


def lesson_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    balance: torch.Tensor,
    confusion: torch.Tensor,
    smoothing: float,
) -> torch.Tensor:
    """Return the weighted mean cross entropy with the masks; 0 if nothing is taught.

    Args:
        logits: (P, K, h, w).
        labels: (P, h, w) ids and IGNORE.
        weights: (P, h, w) confidence.
        balance: (K,) weight of each class.
        confusion: (K, K) as in ``soften``.
        smoothing: as in ``soften``.
    """
    known = labels >= 0
    weight = torch.where(known, weights * balance[labels.clamp(min=0)], torch.zeros_like(weights))
    targets = soften(labels, confusion, smoothing)
    each = -(targets * logits.float().log_softmax(dim=1)).sum(dim=1)
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)


def consistency_loss(
    logits: torch.Tensor, said: torch.Tensor, inside: torch.Tensor, sure: float
) -> torch.Tensor:
    """Return the mean cross entropy with the teacher over the cells where it is sure.

    Source: "FixMatch" (Sohn et al., NeurIPS 2020), with an averaged teacher.

    Args:
        logits: (P, K, h, w) of the student.
        said: (P, K, h, w) probabilities of the teacher.
        inside: (P, h, w) whether a cell belongs to a picture.
        sure: least probability of the teacher's class.
    """
    top, best = said.max(dim=1)
    counted = (inside & (top >= sure)).float()
    each = F.cross_entropy(logits.float(), best, reduction="none")
    return (each * counted).sum() / inside.float().sum().clamp(min=1)


def agreement(counts: torch.Tensor) -> float:
    """Return the mean IoU of masks and answers over ids that the masks hold; nan without any.

    Args:
        counts: (K, K) weight of the cells with mask id (row) and answer (column).

    >>> agreement(torch.tensor([[3.0, 1.0], [0.0, 4.0]]))
    0.775
    """
    counts = counts.double()
    own, given, both = counts.sum(dim=1), counts.sum(dim=0), counts.diagonal()
    present = own > 0
    if not present.any():
        return float("nan")
    shares = both[present] / (own + given - both)[present]
    return round(float(shares.mean()), 9)

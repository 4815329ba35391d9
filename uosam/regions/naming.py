"""From similarities of regions and words to names: the vote of a cluster's regions.

A cluster's name is the one of highest mean probability over its regions, large regions counting
more; a name that few regions chose, or that hardly beats the next, is "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp, softmax

from uosam.errors import ConfigError
from uosam.structures import Floats, Mask

UNKNOWN = "unknown"
"""The name of what could not be named."""

LISTED = 5
"""Names listed with each answer, best first."""

DECIDED = 0.6
"""Least share of a region's pixels with which a text segmenter overrules the order of names."""


@dataclass(frozen=True, kw_only=True)
class NamingOptions:
    """When a name counts, and how names are given to clusters.

    Attributes:
        assign: "independent" lets two clusters have one name; "one-to-one" does not.
        debias: how much of a name's mean similarity over all clusters is taken away, in [0, 1].
        min_share: least weight of the regions that chose the name by themselves, in [0, 1].
        min_margin: least lead in mean probability over the next name, in [0, 1].
        min_regions: least number of regions of a cluster.
    """

    assign: Literal["independent", "one-to-one"] = "independent"
    debias: float = 0.0
    min_share: float = 0.25
    min_margin: float = 0.02
    min_regions: int = 3

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], or ``assign`` is unknown.
        """
        for name in ("debias", "min_share", "min_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"naming.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.assign not in ("independent", "one-to-one"):
            raise ConfigError(
                f"naming.assign must be independent or one-to-one, got {self.assign!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a region or a cluster is called, and how sure that is.

    Attributes:
        text: the name, or "unknown".
        score: mean probability of the best name, in [0, 1].
        share: weight of the regions that chose the best name by themselves, in [0, 1].
        margin: score less that of the second name, if there is one.
        best: up to five names with their scores, best first.
        regions: how many regions voted.
        pictures: in how many pictures.
    """

    text: str
    score: float
    share: float
    margin: float
    best: tuple[tuple[str, float], ...]
    regions: int = 1
    pictures: int = 1

    @property
    def runner_up(self) -> str:
        """Return the second name, "" where there is no other."""
        return self.best[1][0] if len(self.best) > 1 else ""


def similarities(
    images: Floats, texts: Floats, owner: Sequence[int], *, exclusive: bool = False
) -> Floats:
    """Compare regions with names, each of which has one or more words.

    Args:
        images: (N, D) embeddings of regions.
        texts: (W, D) embeddings of words.
        owner: (W,) index of the name that a word belongs to, 0 to V - 1, each at least once.
        exclusive: as of ``ImageText``: whether the products are logarithms of probabilities; a
            name then has their mean over its words, as if all names were equally likely before
            the picture is seen, whether they have one word or the hundred breeds of dogs. Else a
            name has its best word's.

    Returns:
        (N, V).

    >>> images, words = np.array([[2.0, 1.0]]), np.array([[1.0, 0], [0, 1.0], [0.5, 0]])
    >>> similarities(images, words, [0, 0, 1]).tolist()
    [[2.0, 1.0]]
    """
    products = images @ texts.T
    owners = np.asarray(owner)
    columns = [products[:, owners == name] for name in range(int(owners.max()) + 1)]
    if exclusive:
        means = [logsumexp(column, axis=1) - np.log(column.shape[1]) for column in columns]
        return np.stack(means, axis=1)
    return np.stack([column.max(axis=1) for column in columns], axis=1)


def probabilities(
    similar: Floats, labels: NDArray[np.int64], *, scale: float, debias: float = 0.0
) -> Floats:
    """Turn similarities into probabilities over names.

    Args:
        similar: (N, V).
        labels: (N,) id of each region's cluster.
        scale: of the model.
        debias: how much of each name's mean over the means of all clusters is taken away.

    Returns:
        (N, V); rows sum to 1.
    """
    values = similar.astype(np.float64)
    if debias and len(values):
        means = [values[labels == label].mean(axis=0) for label in np.unique(labels)]
        values = values - debias * np.mean(means, axis=0)
    return np.asarray(softmax(scale * values, axis=1))


def name_clusters(
    found: Floats,
    labels: NDArray[np.int64],
    shares: Floats,
    pictures: Sequence[str],
    names: Sequence[str],
    options: NamingOptions,
) -> dict[int, Name]:
    """Give every cluster the name its regions vote for.

    Args:
        found: (N, V) probabilities of ``probabilities``.
        labels: (N,) id of each region's cluster.
        shares: (N,) area of each region over that of its picture; its root is the weight.
        pictures: (N,) picture of each region.
        names: (V,) in the order of the vocabulary; of equal scores the earlier wins.
        options: of naming.

    Returns:
        id to name, in order of id.

    Raises:
        ConfigError: there are more clusters than names, and each was to have its own.
    """
    ids = np.unique(labels).tolist()
    weights = np.sqrt(shares.astype(np.float64))
    means, chosen = [], []
    for label in ids:
        inside = labels == label
        weight = weights[inside] / weights[inside].sum()
        means.append(weight @ found[inside])
        own = found[inside].argmax(axis=1)
        chosen.append(np.bincount(own, weights=weight, minlength=len(names)))
    winners = _assign(np.array(means).reshape(len(ids), len(names)), options)
    answers = {}
    for label, mean, share, winner in zip(ids, means, chosen, winners, strict=True):
        inside = np.flatnonzero(labels == label).tolist()
        name = _judge(mean, float(share[winner]), winner, names)
        sure = (
            name.share >= options.min_share
            and (name.margin >= options.min_margin or options.assign == "one-to-one")
            and len(inside) >= options.min_regions
        )
        answers[label] = replace(
            name,
            text=name.text if sure else UNKNOWN,
            regions=len(inside),
            pictures=len({pictures[index] for index in inside}),
        )
    return answers


def name_regions(found: Floats, names: Sequence[str], options: NamingOptions) -> list[Name]:
    """Give every region its own best name, "unknown" where it hardly beats the next."""
    answers = []
    for row in found.astype(np.float64):
        name = _judge(row, 1.0, int(row.argmax()), names)
        sure = name.margin >= options.min_margin
        answers.append(name if sure else replace(name, text=UNKNOWN))
    return answers


def _judge(scores: NDArray[np.float64], share: float, winner: int, names: Sequence[str]) -> Name:
    order = np.argsort(-scores, kind="stable")
    others = scores[order[order != winner]]
    best = tuple((names[index], float(scores[index])) for index in order[:LISTED].tolist())
    score = float(scores[winner])
    return Name(
        text=names[winner],
        score=score,
        share=share,
        margin=score - float(others[0]) if len(others) else score,
        best=best,
    )


def _assign(means: NDArray[np.float64], options: NamingOptions) -> list[int]:
    """Return the index of each cluster's name."""
    if options.assign == "independent":
        return [int(row.argmax()) for row in means]
    clusters, words = means.shape
    if clusters > words:
        raise ConfigError(
            f"one-to-one needs a name for each of {clusters} ids, got {words} names; add names, or "
            "take --assign independent"
        )
    return [int(index) for index in linear_sum_assignment(-np.log(means + 1e-6))[1]]


def dominant(names: Mapping[int, Name]) -> str | None:
    """Return the name that more than half of at least three clusters have, or None."""
    texts = [name.text for name in names.values() if name.text != UNKNOWN]
    most = max(texts, key=texts.count, default="")
    return most if len(names) >= 3 and 2 * texts.count(most) > len(names) else None


def decide(name: Name, logits: Floats, mask: Mask) -> Name:
    """Let a text segmenter decide between the best names, if it is sure.

    Args:
        name: of a region.
        logits: (T, h, w) of its best T names, on a crop of the picture.
        mask: (h, w) the region in that crop.

    Returns:
        the name with the text that wins most pixels of the region, if those are at least
        ``DECIDED`` of it; else ``name`` itself. Of equal logits the earlier name has the pixel.
    """
    counts = np.bincount(logits.argmax(axis=0)[mask], minlength=len(logits))
    winner = int(counts.argmax())
    if counts[winner] < DECIDED * counts.sum():
        return name
    return replace(name, text=name.best[winner][0])

"""Stage 3, the global region optimizer: proposals for the whole picture vote over the labels.

Semantic voting as in UO-SAM (arXiv 2405.11742, "IWS" and "CVM") and SSA: each proposal takes the
label most frequent inside it, large proposals first, always counted on the map as it came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from uosam.errors import ConfigError
from uosam.labels import check_label_map
from uosam.stages.levels import check_levels
from uosam.stages.proposals import SAFETY, Search, grid_points, inside, near_boundaries
from uosam.structures import IGNORE, Backend, Embedding, Floats, LabelMap, Masks

_ROUNDS = 3  # of asking, at most: the band, then twice inside what flipped


@dataclass(frozen=True, kw_only=True)
class GlobalRegionOptions:
    """How the picture is searched for proposals, and when a vote counts.

    Attributes:
        grid: points along each side of the picture; 0 leaves the stage out.
        seeds: "grid" asks for all points; "band" for a sparse grid and those within a cell of a
            boundary between labels, then for those inside what the vote changed, but not for
            points that a proposal is sure to hold.
        min_score: least estimate of a proposal's IoU, in [0, 1].
        min_stability: least stability of a proposal, in [0, 1].
        max_overlap: of two proposals whose IoU is above this, only the better scored votes.
        min_area: smallest proposal, as a share of the picture.
        min_purity: least share of the winning label inside a proposal, in [0, 1]; 0.5 leaves
            proposals across several objects out.
        levels: levels of granularity that the points ask for, 1 whole to 6 smallest part, rising;
            () lets the segmenter choose.
        background_votes: whether the background can win (the paper) or is not counted.
        protect: whether a label that would lose more than half its pixels keeps them.
    """

    grid: int = 0
    seeds: Literal["grid", "band"] = "grid"
    min_score: float = 0.86
    min_stability: float = 0.92
    max_overlap: float = 0.7
    min_area: float = 0.0005
    min_purity: float = 0.75
    levels: tuple[int, ...] = ()
    background_votes: bool = True
    protect: bool = True

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], ``grid`` is negative, ``seeds`` is unknown or
                ``levels`` are none.
        """
        check_levels(self.levels, "global_region.levels")
        if self.grid < 0:
            raise ConfigError(f"global_region.grid must be at least 0, got {self.grid}")
        if self.seeds not in ("grid", "band"):
            raise ConfigError(f"global_region.seeds must be grid or band, got {self.seeds!r}")
        for name in ("min_score", "min_stability", "max_overlap", "min_area", "min_purity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"global_region.{name} must be in [0, 1], got {getattr(self, name)}"
                )


def search(embedding: Embedding, backend: Backend, options: GlobalRegionOptions) -> Search:
    """Begin a search for proposals with the thresholds of ``options``."""
    return Search(
        embedding=embedding,
        backend=backend,
        min_score=options.min_score,
        min_stability=options.min_stability,
        min_area=options.min_area,
        levels=options.levels,
    )


def propose(
    points: Floats, embedding: Embedding, backend: Backend, options: GlobalRegionOptions
) -> tuple[Masks, Floats]:
    """Ask for what lies under every point, and keep what is good and new.

    Args:
        points: (P, 2) x, y in pixels.
        embedding: of the picture.
        backend: that made it.
        options: thresholds.

    Returns:
        (M, H, W) proposals and (M,) scores, best first.
    """
    found = search(embedding, backend, options)
    found.ask(points)
    return found.best(options.max_overlap)


def vote(
    labels: LabelMap, masks: Masks, options: GlobalRegionOptions, background: int | None
) -> LabelMap:
    """Give every proposal the label most frequent inside it, large proposals first.

    Votes are counted on ``labels`` as it came in, so their order does not matter; where proposals
    overlap the smaller one decides, of equal ones the later. A tie goes to the lower id. IGNORE
    pixels neither vote nor change, and pixels of no proposal keep their label. With
    ``background_votes`` off the background is not counted, but a proposal without any object in it
    stays as it is. Labels that would shrink to less than half keep their pixels if ``protect``.

    Args:
        labels: (H, W).
        masks: (M, H, W) proposals.
        options: thresholds.
        background: id of the background, or None.

    Returns:
        (H, W) labels.
    """
    voted = labels.copy()
    known = labels != IGNORE
    sizes = np.array([-np.count_nonzero(mask) for mask in masks])
    for index in np.argsort(sizes, kind="stable"):
        inside = masks[index] & known
        counts = np.bincount(labels[inside])
        total = counts.sum()
        if not options.background_votes and background is not None and background < len(counts):
            counts[background] = 0
        if counts.sum() == 0:
            continue
        winner = int(counts.argmax())
        if counts[winner] >= options.min_purity * total:
            voted[inside] = winner
    if options.protect:
        before = np.bincount(labels[known])
        after = np.bincount(voted[known], minlength=len(before))
        for label in np.flatnonzero(before).tolist():
            if label != background and 2 * after[label] < before[label]:
                voted[labels == label] = label
    return voted


def _search_and_vote(
    labels: LabelMap, found: Search, options: GlobalRegionOptions, background: int | None
) -> LabelMap:
    """Ask for the points that ``seeds`` names, and vote with what comes back.

    In the band, only proposals across a boundary can change a label, and only proposals inside
    what they changed can take that back. So the band is asked first, then the points inside
    what flipped, until nothing new flips. Points that lie deep in a proposal already found are
    passed over, beginning with those in proposals of the sparse grid.
    """
    points = grid_points(labels.shape, options.grid)
    if options.seeds == "grid":
        found.ask(points)
        return vote(labels, found.best(options.max_overlap)[0], options, background)
    waiting = np.ones(len(points), bool)
    found.ask(grid_points(labels.shape, min(SAFETY, options.grid)))
    turn = near_boundaries(labels, options.grid)
    voted = labels
    for _ in range(_ROUNDS):
        found.ask(points[turn], skip_explained=True)
        waiting &= ~turn
        voted = vote(labels, found.best(options.max_overlap)[0], options, background)
        turn = waiting & inside(points, voted != labels)
        if not turn.any():
            break
    return voted


def refine_global(
    labels: LabelMap,
    embedding: Embedding,
    backend: Backend,
    options: GlobalRegionOptions,
    *,
    background: int | None = 0,
) -> LabelMap:
    """Let proposals for the whole picture vote over a label map.

    Args:
        labels: (H, W) usually the result of the local region optimizer.
        embedding: of the picture that ``labels`` belongs to.
        backend: that made ``embedding``.
        options: of this stage.
        background: id that is no object, or None.

    Returns:
        (H, W) labels; ``labels`` itself, copied, if ``grid`` is 0 or the vote would leave a single
        label (as the published procedure has it).

    Raises:
        InputError: ``labels`` is not int32 (H, W) or differs in size from the embedded picture.
    """
    check_label_map(labels, embedding.image_hw)
    if options.grid == 0:
        return labels.copy()
    voted = _search_and_vote(labels, search(embedding, backend, options), options, background)
    known = voted[voted != IGNORE]
    if len(known) and (known == known[0]).all():
        return labels.copy()
    return voted

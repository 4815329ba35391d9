"""Stage 3, the global region optimizer: proposals for the whole picture vote over the labels.

How they are found is told in ``uosam.stages.proposals``, how they vote in ``uosam.stages.votes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from uosam.errors import ConfigError, unknown
from uosam.labels import check_label_map
from uosam.stages.guide import check_guide
from uosam.stages.levels import check_levels
from uosam.stages.proposals import (
    SAFETY,
    Search,
    best_of,
    grid_points,
    inside,
    limits_of,
    near_boundaries,
)
from uosam.stages.votes import is_pure, vote
from uosam.structures import IGNORE, Backend, Embedding, Floats, Guide, LabelMap, Mask, Masks

PICTURES = ("auto", "photo", "guide", "both")
_ROUNDS = 3  # of asking, at most: the band, then twice inside what flipped


@dataclass(frozen=True, kw_only=True)
class GlobalRegionOptions:
    """How the picture is searched for proposals, and when a vote counts.

    Attributes:
        picture: where proposals are found: on the "photo", on the "guide" (such as rendered depth)
            or on "both", as one list; "auto" takes the guide if there is one.
        grid: points along each side of the picture; 0 leaves the stage out.
        seeds: "grid" asks for all points; "band" for a sparse grid and those within a cell of a
            boundary between labels, then for those inside what the vote changed, but not for
            points that a proposal is sure to hold.
        min_score: least estimate of a proposal's IoU, in [0, 1]; None takes what was calibrated for
            the segmenter, or SSA's limit where nothing was.
        min_stability: least stability of a proposal, in [0, 1], or None likewise.
        max_overlap: of two proposals whose IoU is above this, only the better scored votes.
        min_area: smallest proposal, as a share of the picture.
        min_pixels: smallest proposal in pixels, for published floors; the larger floor counts.
        min_purity: least share of the winning label inside a proposal, in [0, 1]; 0.5 leaves
            proposals across several objects out.
        levels: levels of granularity that the points ask for, 1 whole to 6 smallest part, rising;
            () lets the segmenter choose.
        coarsest: whether of the levels of one click only the coarsest pure one votes, so that a
            whole across two classes is refused and its parts may still vote.
        background_votes: whether the background can win (the paper) or is not counted.
        protect: whether a label that would lose more than half its pixels keeps them.
        uncovered: whether pixels of no proposal "keep" their label or become "ignore".
    """

    picture: Literal["auto", "photo", "guide", "both"] = "auto"
    grid: int = 0
    seeds: Literal["grid", "band"] = "grid"
    min_score: float | None = None
    min_stability: float | None = None
    max_overlap: float = 0.7
    min_area: float = 0.0005
    min_pixels: int = 0
    min_purity: float = 0.75
    levels: tuple[int, ...] = ()
    coarsest: bool = False
    background_votes: bool = True
    protect: bool = True
    uncovered: Literal["keep", "ignore"] = "keep"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], ``grid`` is negative, ``levels`` are none, or
                ``seeds``, ``picture`` or ``uncovered`` is unknown.
        """
        check_levels(self.levels, "global_region.levels")
        if self.coarsest and len(self.levels) < 2:
            raise ConfigError(
                f"global_region.coarsest needs levels to choose from, got {list(self.levels)}; set "
                "global_region.levels=[1,2,3], or --level 1,2,3"
            )
        for name in ("grid", "min_pixels"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"global_region.{name} must be at least 0, got {getattr(self, name)}"
                )
        if self.seeds not in ("grid", "band"):
            raise ConfigError(f"global_region.seeds must be grid or band, got {self.seeds!r}")
        if self.picture not in PICTURES:
            raise unknown("global_region.picture", self.picture, PICTURES)
        if self.uncovered not in ("keep", "ignore"):
            raise unknown("global_region.uncovered", self.uncovered, ("keep", "ignore"))
        for name in ("min_score", "min_stability", "max_overlap", "min_area", "min_purity"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ConfigError(
                    f"global_region.{name} must be in [0, 1], got {getattr(self, name)}"
                )


def search(
    embedding: Embedding,
    backend: Backend,
    options: GlobalRegionOptions,
    holes: Mask | None = None,
) -> Search:
    """Begin a search for proposals with the thresholds of ``options``.

    Args:
        embedding: of the picture or the guide.
        backend: that made it.
        options: thresholds.
        holes: (H, W) of a guide, or None.
    """
    height, width = embedding.image_hw
    score, stability = limits_of(backend)
    return Search(
        embedding=embedding,
        backend=backend,
        min_score=score if options.min_score is None else options.min_score,
        min_stability=stability if options.min_stability is None else options.min_stability,
        min_area=max(options.min_area, options.min_pixels / (height * width)),
        levels=options.levels,
        holes=holes,
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
    masks, scores = found.best(options.max_overlap)
    return masks if isinstance(masks, np.ndarray) else masks.whole(), scores


def _search_and_vote(
    labels: LabelMap,
    found: Sequence[Search],
    options: GlobalRegionOptions,
    background: int | None,
) -> LabelMap:
    """Ask for the points that ``seeds`` names, and vote with what comes back.

    In the band, only proposals across a boundary can change a label, and only proposals inside
    what they changed can take that back. So the band is asked first, then the points inside
    what flipped, until nothing new flips. Points that lie deep in a proposal already found are
    passed over, beginning with those in proposals of the sparse grid.
    """
    points = grid_points(labels.shape, options.grid)
    if options.seeds == "grid":
        for one in found:
            one.ask(points)
        return vote(labels, best_of(found, options.max_overlap)[0], options, background)
    waiting = np.ones(len(points), bool)
    for one in found:
        one.ask(grid_points(labels.shape, min(SAFETY, options.grid)))
    turn = near_boundaries(labels, options.grid)
    voted = labels
    for _ in range(_ROUNDS):
        for one in found:
            one.ask(points[turn], skip_explained=True)
        waiting &= ~turn
        voted = vote(labels, best_of(found, options.max_overlap)[0], options, background)
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
    guide: Guide | None = None,
) -> LabelMap:
    """Let proposals for the whole picture vote over a label map.

    Args:
        labels: (H, W) usually the result of the local region optimizer.
        embedding: of the picture that ``labels`` belongs to.
        backend: that made ``embedding``.
        options: of this stage.
        background: id that is no object, or None.
        guide: a second picture of the view, in which ``options.picture`` may look for proposals.

    Returns:
        (H, W) labels; ``labels`` itself, copied, if ``grid`` is 0 or the vote would leave a single
        label (as the published procedure has it).

    Raises:
        InputError: ``labels`` is not int32 (H, W), or it or the guide differs in size from the
            embedded picture.
        ConfigError: ``options`` and ``guide`` do not go together.
    """
    check_label_map(labels, embedding.image_hw)
    check_guide(guide, embedding.image_hw, options)
    if options.grid == 0:
        return labels.copy()
    found = []
    if guide is None or options.picture in ("photo", "both"):
        found.append(search(embedding, backend, options))
    if guide is not None and options.picture != "photo":
        found.append(search(backend.embed(guide.image), backend, options, guide.holes))
    if options.coarsest:
        for one in found:
            one.accept = lambda mask: is_pure(mask, labels, options)
    voted = _search_and_vote(labels, found, options, background)
    known = voted[voted != IGNORE]
    if len(known) and (known == known[0]).all():
        return labels.copy()
    return voted

"""The embedded segmenter: no weights, deterministic, CPU only.

A prompt with a box or a mask is answered by a graph cut over superpixels (Boykov and Jolly,
"Interactive graph cuts", ICCV 2001) whose unary term compares colours, places and paths
(``evidence``) and whose outline is carried to the pixels by a guided filter. A lone point is
answered with the segments around it in a hierarchy of regions, as a promptable model answers with
whole, part and sub-part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from uosam.backends import BackendOptions
from uosam.backends.checks import check_levels, check_whole
from uosam.backends.graphcut.calibration import calibration
from uosam.backends.graphcut.cutting import cut_regions
from uosam.backends.graphcut.evidence import (
    Kernels,
    affinity,
    build_kernels,
    gather,
    prior_evidence,
)
from uosam.backends.graphcut.guided import GuidedFilter
from uosam.backends.graphcut.hierarchy import THRESHOLDS, build_hierarchy
from uosam.backends.graphcut.points import (
    clicked_regions,
    level_segments,
    middle_region,
    point_segments,
    prior_of,
)
from uosam.backends.graphcut.quality import mask_evidence
from uosam.backends.graphcut.regions import Regions, find_regions, working_copy
from uosam.labels import colour_gradient
from uosam.stages.judging.judge import Judge, packaged_judge
from uosam.structures import LOGIT_SCALE, Embedding, Floats, Image, Prompts, Proposals

STRIDE = 8
"""Working pixels to a cell of the feature grid; a cell of the logit grid is two."""
CAUTIOUS = (5.0, 0.25)
"""Weight of the pairwise term and bias of the log odds of the mask that stays near the prompt."""
GENEROUS = (20.0, 1.0)
"""The same for a smoother, larger mask. The log odds are those of a pixel classifier, but IoU wants
every pixel of probability above half the IoU that can be had; hence the bias."""
OUTLINE_BLUR = 1.0
"""Deviation in pixels of a last blur, against frayed outlines in texture."""
LIMIT = 8.0
"""Logits are clipped to plus and minus this."""

_Answer = tuple[int, float, Floats, int]
"""Row, score, logit field on the working copy, and level or 0."""

# The matrices are too small to gain from BLAS threads, and beside other work they lose.
_ONE_THREAD = ThreadpoolController()


@dataclass(frozen=True, eq=False, kw_only=True)
class _State:
    regions: Regions
    kernels: Kernels
    guide: GuidedFilter
    gradient: Floats
    grid: NDArray[np.int32]  # (rows, cols) region of every covered cell of the logit grid
    affinity: Floats

    @cached_property
    def hierarchy(self) -> NDArray[np.int64]:
        """Merge tree of the regions; only lone points need it."""
        return build_hierarchy(self.regions)


class GraphCut:
    """The backend; it holds no picture and no state."""

    @property
    def judge(self) -> Judge | None:
        """What chooses among its answers."""
        return packaged_judge("uosam.backends.graphcut")

    def embed(self, image: Image) -> Embedding:
        """Cut the picture into regions and compare their colours.

        Args:
            image: (H, W, 3) RGB of any size; longer sides than 512 are segmented on a smaller copy.

        Returns:
            Features are CIELAB colour and texture on an 8-pixel grid, less the picture's mean.
        """
        with _ONE_THREAD.limit(limits=1):
            return self._embed(image)

    def _embed(self, image: Image) -> Embedding:
        work = working_copy(image)
        height, width = work.shape[:2]
        regions = find_regions(work)
        cells = -(-height // STRIDE), -(-width // STRIDE)
        # Without the picture's mean, or every pair of colours would have a cosine near one.
        centred = regions.colour - np.average(regions.colour, axis=0, weights=regions.area)
        colour = np.moveaxis(centred.astype(np.float32)[regions.ids], 2, 0)
        features = np.stack(
            [
                cv2.resize(c.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
                for c in colour
            ]
        )
        extent = height / STRIDE, width / STRIDE
        covered = tuple(max(1, round(side * LOGIT_SCALE)) for side in extent)
        state = _State(
            regions=regions,
            kernels=build_kernels(regions),
            guide=GuidedFilter(work),
            gradient=colour_gradient(work),
            grid=np.asarray(
                cv2.resize(regions.ids, covered[::-1], interpolation=cv2.INTER_NEAREST), np.int32
            ),
            affinity=affinity(regions),
        )
        return Embedding(
            features=features.astype(np.float32),
            extent=extent,
            image_hw=(image.shape[0], image.shape[1]),
            state=state,
        )

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        """Answer boxes and masks with graph cuts, lone points with segments of the hierarchy.

        Rows that ask for levels are answered with the hierarchy's segments of these levels around
        the points inside, or else the middle of the box or mask.

        Scores estimate the mask's IoU with what was meant; stability is the IoU of the mask cut at
        logits -1 and +1.

        Raises:
            BackendError: a row asks for the whole object.
        """
        check_whole(prompts, "graphcut", answers=False)
        check_levels(prompts, "graphcut", len(THRESHOLDS))
        answers: list[_Answer] = []
        if prompts.levels is not None or (prompts.boxes is None and prompts.logits is None):
            answers = self._segment_answers(embedding, prompts, 3 if multimask else 1)
        elif len(prompts):
            with _ONE_THREAD.limit(limits=1):
                answers = self._cut_answers(embedding, prompts, 3 if multimask else 1)
        kept = []
        for row, score, field, level in answers:
            wide = int(np.count_nonzero(field > -1))
            stability = int(np.count_nonzero(field > 1)) / wide if wide else 0.0
            if score >= min_score and stability >= min_stability:
                kept.append((row, score, stability, level, field))
        height, width = embedding.image_hw
        logits = np.full((len(kept), *embedding.logits_hw), -LIMIT, np.float32)
        masks = np.zeros((len(kept), height, width), bool)
        rows, cols = embedding.state.grid.shape
        for index, (*_, field) in enumerate(kept):
            logits[index, :rows, :cols] = cv2.resize(
                field, (cols, rows), interpolation=cv2.INTER_AREA
            )
            masks[index] = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR) > 0
        return Proposals(
            masks=masks,
            scores=np.array([k[1] for k in kept], np.float32),
            stability=np.array([k[2] for k in kept], np.float32),
            logits=logits,
            row=np.array([k[0] for k in kept], np.int64),
            level=np.array([k[3] for k in kept], np.int8),
        )

    def _segment_answers(
        self, embedding: Embedding, prompts: Prompts, amount: int
    ) -> list[_Answer]:
        """Answer with segments around the points, ``amount`` a row or those of asked levels."""
        state: _State = embedding.state
        ids, tree = state.regions.ids, state.hierarchy
        answers: list[_Answer] = []
        for row in range(len(prompts)):
            clicked = clicked_regions(embedding, ids, prompts, row)
            if prompts.levels is None:
                members, scores = point_segments(tree, state.regions, clicked, amount)
                asked = np.zeros(len(scores), np.int8)
            else:
                asked = prompts.levels[row][prompts.levels[row] > 0]
                if 1 not in clicked.values():
                    clicked |= middle_region(embedding, ids, state.grid, prompts, row)
                members, scores = level_segments(tree, state.regions, clicked, asked)
            for member, score, level in zip(members, scores.tolist(), asked.tolist(), strict=False):
                field = np.where(member, LIMIT / 2, -LIMIT / 2).astype(np.float32)
                answers.append((row, score, field[ids], level))
        return answers

    def _cut_answers(self, embedding: Embedding, prompts: Prompts, amount: int) -> list[_Answer]:
        state: _State = embedding.state
        priors = [
            prior_of(embedding, state.grid.shape, prompts, row) for row in range(len(prompts))
        ]
        evidence = np.stack(
            [prior_evidence(prior, state.grid, len(state.regions)) for prior in priors], axis=1
        )
        logits = weigh(state.regions, state.kernels, evidence)
        answers = []
        for row, prior in enumerate(priors):
            unary = logits[:, row].copy()
            clicked = clicked_regions(embedding, state.regions.ids, prompts, row)
            for region, label in clicked.items():
                unary[region] = LIMIT if label == 1 else -LIMIT
            answers += [(row, *answer, 0) for answer in candidates(state, prior, unary)[-amount:]]
        return answers


def candidates(state: _State, prior: Floats, unary: Floats) -> list[tuple[float, Floats]]:
    """Answer one row with score and logit field of up to three masks.

    The mask as it was asked for, so that a prompt that is right already is answered with itself; a
    cautious cut; and a generous one. Empty masks are left out.

    Args:
        state: of the embedding.
        prior: (rows, cols) probability on the covered cells of the logit grid.
        unary: (N,) log odds of the regions.
    """
    ids, regions = state.regions.ids, state.regions
    height, width = ids.shape
    asked = LIMIT * (2 * cv2.resize(prior, (width, height), interpolation=cv2.INTER_LINEAR) - 1)
    fields = [np.asarray(asked, np.float32)]
    for smoothness, bias in (CAUTIOUS, GENEROUS):
        odds = unary + bias
        inside = cut_regions(odds * regions.area, regions, state.affinity, smoothness)
        # The cut decides the side, the evidence how sure of it we are.
        sure = np.where(inside, np.maximum(odds, 0.2), np.minimum(odds, -0.2))
        field = cv2.GaussianBlur(state.guide(np.tanh(sure)[ids]), (0, 0), OUTLINE_BLUR)
        fields.append(np.asarray(LIMIT / 2 * field, np.float32))
    probability = (1 / (1 + np.exp(-unary))).astype(np.float32)[ids]
    answers = []
    for kind, field in enumerate(fields):
        mask = field > 0
        if mask.any():
            *weights, constant = calibration()["quality"][kind].tolist()
            seen = mask_evidence(mask, fields[0] > 0, probability, state.gradient)
            score = float(np.clip(seen @ np.asarray(weights, np.float32) + constant, 0, 1))
            answers.append((score, np.asarray(field, np.float32)))
    return answers


def weigh(regions: Regions, kernels: Kernels, priors: Floats) -> Floats:
    """Turn evidence into log odds, in two passes.

    Args:
        regions: of the picture.
        kernels: of the same picture.
        priors: (N, B, 5) from ``prior_evidence``.

    Returns:
        (N, B) log odds that a region belongs to the object of a row.
    """
    logits = None
    for name in ("first", "second"):
        *weights, bias = calibration()[name]
        evidence = gather(regions, kernels, priors, logits)
        logits = np.clip(evidence @ np.asarray(weights, np.float32) + bias, -LIMIT, LIMIT)
    return np.asarray(logits, np.float32)


def load(options: BackendOptions) -> GraphCut:
    """Build the backend; nothing of ``options`` but the name concerns it."""
    del options
    return GraphCut()

"""The embedded segmenter: no weights, deterministic, CPU only.

A prompt with a box or a mask is answered by a graph cut over superpixels (Boykov and Jolly,
"Interactive graph cuts", ICCV 2001) whose unary term compares colours, places and paths
(``evidence``) and whose outline is carried to the pixels by a guided filter. A lone point is
answered with the segments around it in a hierarchy of regions, as a promptable model answers with
whole, part and sub-part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from uosam.backends import BackendOptions
from uosam.backends.cutting import cut_regions
from uosam.backends.evidence import Kernels, affinity, build_kernels, gather, prior_evidence
from uosam.backends.guided import GuidedFilter
from uosam.backends.hierarchy import build_hierarchy, segments_at
from uosam.backends.quality import mask_evidence
from uosam.backends.refusal import refuse_whole
from uosam.backends.regions import Regions, find_regions, working_copy
from uosam.errors import InputError
from uosam.labels import colour_gradient
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


@cache
def calibration() -> dict[str, Floats]:
    """Read the coefficients that ``benchmarks/fit_graphcut.py`` fitted."""
    text = files("uosam.backends").joinpath("graphcut.json").read_text()
    return {name: np.asarray(value, np.float32) for name, value in json.loads(text).items()}


class GraphCut:
    """The backend; it holds no picture and no state."""

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

        Scores estimate the mask's IoU with what was meant; stability is the IoU of the mask cut at
        logits -1 and +1.

        Raises:
            BackendError: a row asks for the whole object.
        """
        refuse_whole(prompts, self)
        answers = []
        if prompts.boxes is None and prompts.logits is None:
            answers = self._point_answers(embedding, prompts, 3 if multimask else 1)
        elif len(prompts):
            with _ONE_THREAD.limit(limits=1):
                answers = self._cut_answers(embedding, prompts, 3 if multimask else 1)
        kept = []
        for row, score, field in answers:
            wide = int(np.count_nonzero(field > -1))
            stability = int(np.count_nonzero(field > 1)) / wide if wide else 0.0
            if score >= min_score and stability >= min_stability:
                kept.append((row, score, stability, field))
        height, width = embedding.image_hw
        logits = np.full((len(kept), *embedding.logits_hw), -LIMIT, np.float32)
        masks = np.zeros((len(kept), height, width), bool)
        rows, cols = embedding.state.grid.shape
        for index, (_, _, _, field) in enumerate(kept):
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
        )

    def _clicked(self, embedding: Embedding, prompts: Prompts, row: int) -> dict[int, int]:
        """Return the regions under the points of one row, and their labels."""
        ids = embedding.state.regions.ids
        (height, width), (image_height, image_width) = ids.shape, embedding.image_hw
        clicked = {}
        for (x, y), label in zip(prompts.points[row], prompts.point_labels[row], strict=True):
            if label >= 0:
                column = min(width - 1, max(0, int((x + 0.5) * width / image_width)))
                line = min(height - 1, max(0, int((y + 0.5) * height / image_height)))
                clicked[int(ids[line, column])] = int(label)
        return clicked

    def _point_answers(
        self, embedding: Embedding, prompts: Prompts, amount: int
    ) -> list[tuple[int, float, Floats]]:
        state: _State = embedding.state
        answers = []
        for row in range(len(prompts)):
            clicked = self._clicked(embedding, prompts, row)
            inside = [region for region, label in clicked.items() if label == 1]
            outside = [region for region, label in clicked.items() if label == 0]
            if not inside:
                continue
            members, scores = segments_at(state.hierarchy, state.regions, inside[0], amount)
            for other in inside[1:]:
                more, _ = segments_at(state.hierarchy, state.regions, other, amount)
                members = members | more[np.minimum(np.arange(len(members)), len(more) - 1)]
            for other in outside:
                fine, _ = segments_at(state.hierarchy, state.regions, other, 1)
                members = members & ~fine[0]
                members[:, inside] = True
            for member, score in zip(members, scores, strict=True):
                field = np.where(member, LIMIT / 2, -LIMIT / 2).astype(np.float32)
                answers.append((row, float(score), field[state.regions.ids]))
        return answers

    def _prior(self, embedding: Embedding, prompts: Prompts, row: int) -> Floats:
        """Probability of the object on the covered cells of the logit grid."""
        rows, cols = embedding.state.grid.shape
        prior = np.ones((rows, cols), np.float32)
        if prompts.logits is not None:
            if prompts.logits.shape[1:] != embedding.logits_hw:
                raise InputError(
                    f"Prompts.logits must be on the embedding's logit grid {embedding.logits_hw}, "
                    f"got {prompts.logits.shape[1:]}; make them with uosam.labels.to_grid"
                )
            return np.asarray(1 / (1 + np.exp(-prompts.logits[row, :rows, :cols])), np.float32)
        if prompts.boxes is not None:
            height, width = embedding.image_hw
            x0, y0, x1, y1 = prompts.boxes[row] + [0, 0, 1, 1]
            for low, high, length, size, axis in (
                (x0, x1, width, cols, 1),
                (y0, y1, height, rows, 0),
            ):
                at = (np.arange(size) + 0.5) * length / size
                # The middle of a box is almost surely the object, its rim as likely not.
                depth = np.minimum(at - low, high - at) / max(1e-6, 0.2 * (high - low))
                prior *= np.expand_dims(np.clip(depth, 0, 1), 1 - axis).astype(np.float32)
        return prior

    def _cut_answers(
        self, embedding: Embedding, prompts: Prompts, amount: int
    ) -> list[tuple[int, float, Floats]]:
        state: _State = embedding.state
        priors = [self._prior(embedding, prompts, row) for row in range(len(prompts))]
        evidence = np.stack(
            [prior_evidence(prior, state.grid, len(state.regions)) for prior in priors], axis=1
        )
        logits = weigh(state.regions, state.kernels, evidence)
        answers = []
        for row, prior in enumerate(priors):
            unary = logits[:, row].copy()
            for region, label in self._clicked(embedding, prompts, row).items():
                unary[region] = LIMIT if label == 1 else -LIMIT
            answers += [(row, *answer) for answer in candidates(state, prior, unary)[-amount:]]
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

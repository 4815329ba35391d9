"""Fit the coefficients of the graph-cut backend and write its ``graphcut.json``.

Two logistic regressions over the evidence of superpixels, on training pictures whose coarse masks
are imitated from their region maps. Run: ``python benchmarks/fit_graphcut.py`` with UOSAM_SHARED
set to the folder that holds ``data/train``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy import data
from uosam.backends.graphcut.backend import LIMIT, STRIDE, GraphCut, candidates, weigh
from uosam.backends.graphcut.calibration import calibration
from uosam.backends.graphcut.evidence import build_kernels, gather, prior_evidence
from uosam.backends.graphcut.quality import KINDS as KINDS_OF_MASK
from uosam.backends.graphcut.quality import mask_evidence
from uosam.backends.graphcut.regions import find_regions
from uosam.labels import iou
from uosam.structures import LOGIT_SCALE, Floats, Image, LabelMap
from uosam.training.data.degradation import imitate_coarse

OUT = Path(__file__).resolve().parent.parent / "uosam" / "backends" / "graphcut" / "graphcut.json"
# (source folder, kind, noise of the imitated coarse masks: chosen so that their IoU is that of
# the coarse masks USS networks make of such pictures, 75 to 82 % for single objects)
KINDS = (
    ("human", "whole", 0.23),
    ("ccp", "whole", 0.19),
    ("ccp", "classes", 0.22),
    ("bsds", "compact", 0.27),
    ("camvid", "all", 0.14),
    ("facade", "classes", 0.30),
)
CAMVID_UNLABELLED = 11


def compact_regions(regions: LabelMap, amount: int = 3) -> LabelMap:
    """Keep the largest regions that fill most of their convex hull, as ids 1 to ``amount``."""
    found = []
    for label in np.unique(regions):
        count, ids, stats, _ = cv2.connectedComponentsWithStats((regions == label).astype(np.uint8))
        for index in range(1, count):
            area = int(stats[index, cv2.CC_STAT_AREA])
            if not 0.01 < area / regions.size < 0.35:
                continue
            mask = (ids == index).astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            hull = cv2.contourArea(cv2.convexHull(max(outlines, key=cv2.contourArea)))
            if area > 0.7 * hull:
                found.append((area, mask))
    target = np.zeros(regions.shape, np.int32)
    for index, (_, mask) in enumerate(sorted(found, key=lambda f: -f[0])[:amount]):
        target[mask > 0] = index + 1
    return target


def training_pictures(
    root: Path, per_kind: int, seed: int
) -> Iterator[tuple[str, Image, LabelMap, LabelMap, int | None]]:
    """Yield kind, picture, ground truth, coarse map and background id."""
    generator = np.random.default_rng(seed)
    for source, kind, noise in KINDS:
        names = sorted((root / source).glob("*.jpg"))
        taken = 0
        for index in generator.permutation(len(names)):
            stored = cv2.imread(str(names[index].with_suffix(".0.png")), cv2.IMREAD_UNCHANGED)
            target = stored.astype(np.int32)
            background: int | None = 0
            if kind == "whole":
                target = (target > 0).astype(np.int32)
            elif kind == "compact":
                target = compact_regions(target)
            elif kind == "all":
                background = None
            if len(np.unique(target)) < 2:
                continue
            coarse = imitate_coarse(target, generator, noise=noise)
            if kind == "all":
                target = np.where(target == CAMVID_UNLABELLED, -1, target).astype(np.int32)
            image = cv2.cvtColor(cv2.imread(str(names[index])), cv2.COLOR_BGR2RGB)
            yield f"{source}-{kind}", np.asarray(image, np.uint8), target, coarse, background
            taken += 1
            if taken == per_kind:
                break


def fit(evidence: Floats, share: Floats, weight: Floats) -> list[float]:
    """Fit log odds of ``share``; the last number is the bias."""
    mean, deviation = evidence.mean(axis=0), evidence.std(axis=0) + 1e-6
    scaled = (evidence - mean) / deviation
    model = LogisticRegression(C=0.3, max_iter=200)
    model.fit(
        np.concatenate([scaled, scaled]),
        np.repeat([1, 0], len(share)),
        sample_weight=np.concatenate([weight * share, weight * (1 - share)]),
    )
    weights = model.coef_[0] / deviation
    return [*weights.tolist(), float(model.intercept_[0] - (mean * weights).sum())]


def balance(weight: Floats, kind: np.ndarray) -> None:
    """Scale weights in place so that every kind of picture counts the same."""
    for name in np.unique(kind):
        weight[kind == name] /= weight[kind == name].sum()
    weight /= weight.mean()


def fit_quality(root: Path, per_kind: int) -> list[list[float]]:
    """Fit the IoU of candidate masks on pictures the unary models did not see."""
    backend = GraphCut()
    evidence: list[list[Floats]] = [[] for _ in KINDS_OF_MASK]
    overlaps: list[list[float]] = [[] for _ in KINDS_OF_MASK]
    sources: list[list[str]] = [[] for _ in KINDS_OF_MASK]
    for source, image, target, coarse, background in training_pictures(root, per_kind, seed=8):
        state = backend.embed(image).state
        for label in np.unique(coarse):
            mask = coarse == label
            if label == background or mask.sum() < 50 or not (target == label).any():
                continue
            prior = soft_prior(mask, state.grid.shape)
            priors = prior_evidence(prior, state.grid, len(state.regions))[:, None]
            unary = weigh(state.regions, state.kernels, priors)[:, 0]
            answers = candidates(state, prior, unary)
            asked = answers[0][1] > 0
            probability = (1 / (1 + np.exp(-unary)))[state.regions.ids]
            for kind, (_, field) in enumerate(answers):
                found = field > 0
                evidence[kind].append(mask_evidence(found, asked, probability, state.gradient))
                sources[kind].append(source)
                overlaps[kind].append(iou(found & (target >= 0), target == label))
    models = []
    for kind, seen, truth, source in zip(KINDS_OF_MASK, evidence, overlaps, sources, strict=True):
        weight = np.ones(len(truth), np.float32)
        balance(weight, np.array(source))
        model = Ridge(1.0).fit(seen, truth, sample_weight=weight)
        spearman = spearmanr(model.predict(seen), truth).statistic
        determined = model.score(seen, truth)
        print(f"quality {kind}: {len(truth)} masks, R2 {determined:.3f}, Spearman {spearman:.3f}")
        models.append([*model.coef_.tolist(), float(model.intercept_)])
    return models


def soft_prior(mask: np.ndarray, grid_hw: tuple[int, int]) -> Floats:
    """Bring a mask to the logit grid as the mask prompt of ``uosam.stages.prompts`` does."""
    share = cv2.resize(mask.astype(np.float32), grid_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(share, 1 / (1 + np.exp(8)), 1 / (1 + np.exp(-8))), np.float32)


def main() -> None:
    """Fit both passes and the quality model, and write them."""
    root = data("train")
    per_kind = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    models: dict[str, list[float] | list[list[float]]] = {}
    for name in ("first", "second"):
        rows: dict[str, list[np.ndarray]] = {"evidence": [], "share": [], "weight": [], "kind": []}
        for kind, image, target, coarse, background in training_pictures(root, per_kind, seed=7):
            regions = find_regions(image)
            kernels = build_kernels(regions)
            covered = tuple(round(s / STRIDE * LOGIT_SCALE) for s in image.shape[:2])
            grid = cv2.resize(regions.ids, covered[::-1], interpolation=cv2.INTER_NEAREST)
            known = regions.mean((target >= 0).astype(np.float32))
            for label in np.unique(coarse):
                mask = coarse == label
                # An object that the coarse map missed teaches nothing about shape.
                if label == background or mask.sum() < 50 or iou(mask, target == label) < 0.3:
                    continue
                priors = prior_evidence(soft_prior(mask, covered), grid, len(regions))[:, None]
                logits = None
                evidence = gather(regions, kernels, priors)
                if name == "second":
                    *weights, bias = models["first"]
                    logits = np.clip(evidence @ np.asarray(weights) + bias, -LIMIT, LIMIT)
                    evidence = gather(regions, kernels, priors, logits)
                share = regions.mean((target == label).astype(np.float32)) / np.maximum(known, 1e-6)
                near = (known > 0.5) & (np.abs(priors[:, 0, 3]) < 4.5)
                rows["evidence"].append(evidence[near, 0])
                rows["share"].append(share[near].clip(0, 1))
                rows["weight"].append(regions.area[near] / mask.sum())
                rows["kind"].append(np.full(near.sum(), kind))
        stacked = {key: np.concatenate(values) for key, values in rows.items()}
        balance(stacked["weight"], stacked["kind"])
        models[name] = fit(stacked["evidence"], stacked["share"], stacked["weight"])
        *weights, bias = models[name]
        wrong = (stacked["evidence"] @ np.asarray(weights) + bias > 0) != (stacked["share"] > 0.5)
        before = (stacked["evidence"][:, 0] > 0.5) != (stacked["share"] > 0.5)
        for kind in np.unique(stacked["kind"]):
            at = stacked["kind"] == kind
            errors = [np.average(e[at], weights=stacked["weight"][at]) for e in (before, wrong)]
            print(f"{name} {kind}: error {errors[0]:.4f} -> {errors[1]:.4f}")
    write({**models, "quality": [[0.0] * 8] * len(KINDS_OF_MASK)})
    models["quality"] = fit_quality(root, per_kind)
    write(models)


def write(models: dict[str, list[float] | list[list[float]]]) -> None:
    """Store the coefficients to five digits, and let the backend read them anew."""
    rounded = {
        key: np.vectorize(lambda v: float(f"{v:.5g}"))(v).tolist() for key, v in models.items()
    }
    OUT.write_text(json.dumps(rounded, indent=1) + "\n")
    calibration.cache_clear()


if __name__ == "__main__":
    main()

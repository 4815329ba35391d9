"""Scores written from their definitions, pixel by pixel; slow, and sharing no code with uosam."""

from __future__ import annotations

import math

import numpy as np


def random_map(rng, hw=(17, 23), labels=(0, 1, 2, 5), ignore=0.0, cell=4):
    """Blocky labels, so that there are insides as well as edges."""
    h, w = hw
    coarse = rng.choice(labels, size=(h // cell + 1, w // cell + 1))
    out = np.kron(coarse, np.ones((cell, cell), int))[:h, :w]
    noise = rng.random(hw) < 0.05
    out[noise] = rng.choice(labels, size=int(noise.sum()))
    if ignore:
        out[: max(1, int(h * ignore)), : w // 2] = -1
    return out.astype(np.int32)


def erode(mask):
    """One erosion by a 3 x 3 square; outside is empty."""
    padded = np.pad(mask, 1)
    h, w = mask.shape
    return np.logical_and.reduce([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)])


def boundary(mask, width):
    inner = mask
    for _ in range(width):
        inner = erode(inner)
    return mask & ~inner


def boundary_brute(mask, width):
    """Pixels of the mask with a non-member (or the outside) within ``width`` king's moves."""
    h, w = mask.shape
    out = np.zeros_like(mask)
    for y in range(h):
        for x in range(w):
            if mask[y, x]:
                for dy in range(-width, width + 1):
                    for dx in range(-width, width + 1):
                        yy, xx = y + dy, x + dx
                        outside = not (0 <= yy < h and 0 <= xx < w)
                        if outside or not mask[yy, xx]:
                            out[y, x] = True
    return out


def boundary_map(labels, width):
    """Label + 1 on the boundary of every label, 0 elsewhere; ignored pixels are a label too."""
    out = np.zeros(labels.shape, int)
    for label in np.unique(labels):
        out[boundary(labels == label, width)] = label + 1 if label >= 0 else 10_000
    return out


def width_of(hw, ratio):
    return max(1, round(ratio * math.sqrt(hw[0] ** 2 + hw[1] ** 2)))


def iou_from_maps(pairs, labels):
    """Dataset IoU of each label from (pred, target) arrays of scored pixels; None where 0 / 0."""
    out = []
    for label in labels:
        both = sum(int(np.sum((p == label) & (t == label))) for p, t in pairs)
        any_ = sum(int(np.sum((p == label) | (t == label))) for p, t in pairs)
        out.append(both / any_ if any_ else None)
    return out


def zero_mean(values):
    return sum(v or 0.0 for v in values) / len(values)


def luss(maps, classes, ratio=0.03, rule="current"):
    """All LUSS scores of already matched (pred, target) maps, target -1 ignored."""
    labels = range(classes)
    plain = [(p[t >= 0], t[t >= 0]) for p, t in maps]
    edges = []
    for p, t in maps:
        width = width_of(t.shape, ratio)
        bp, bt = boundary_map(p, width), boundary_map(t, width)
        edges.append((bp[t >= 0] - 1, bt[t >= 0] - 1))
    out = {
        "mIoU": zero_mean(iou_from_maps(plain, labels)),
        "boundary_mIoU": zero_mean(iou_from_maps(edges, labels)),
    }
    right, f_scores = [], []
    for p, t in plain:
        ids, counts = np.unique(p[p > 0], return_counts=True)
        best = int(ids[np.argmax(counts)]) if len(ids) else None
        right.append(float(best is not None and best in t))
        tp, pp, tt = np.sum((p > 0) & (t > 0)), np.sum(p > 0), np.sum(t > 0)
        precision, recall = tp / (pp + 1e-20), tp / (tt + 1e-20)
        f_scores.append(1.3 * precision * recall / (0.3 * precision + recall + 1e-20))
    out["image_accuracy"] = float(np.mean(right))
    out["F_beta"] = float(np.mean(f_scores))
    for prefix, source in (("", plain), ("B", edges)):
        for name, low, high in (("S", 0, 5), ("MS", 5, 25), ("ML", 25, 50), ("L", 50, 100)):
            kept = []
            for (p, t), (_, truth) in zip(source, plain, strict=True):
                mine = [
                    int(c)
                    for c in np.unique(truth)
                    if c > 0 and low < math.ceil(100 * np.sum(truth == c) / len(truth)) <= high
                ]
                if mine:
                    keep = np.isin(truth, [0, *mine])
                    kept.append((p[keep], t[keep]))
            values = iou_from_maps(kept, labels)
            if rule == "current":
                values = [v for v, c in zip(values, labels, strict=True)
                          if any((t == c).any() for _, t in kept)]  # fmt: skip
            out[prefix + name] = zero_mean(values) if values else math.nan
    return out

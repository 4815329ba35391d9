"""Classes by k-means on features of several strides of an ImageNet network.

The recipe of PiCIE's and STEGO's baselines (Cho et al., CVPR 2021; Hamilton et al., ICLR 2022),
k-means over dense features of a pretrained network, with the feature maps of EfficientNet-Lite0
side by side as a hypercolumn (Hariharan et al., CVPR 2015). The network's weights were learnt from
the labels of whole pictures: that is the prior, and nobody else names a class.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.images import fetch_image
from uosam.lookup import lookup
from uosam.structures import Floats, Image

from .kmeans import cluster
from .pictures import enlarge

Describe = Callable[[Image], Floats]
"""From (H, W, 3) RGB to directions (C, h, w), a column for every cell of a grid over it."""

Space = Literal["cosine", "whiten"]

CELLS = 256
"""Cells of a picture that take part in the clustering at most, evenly spread."""

SHARPNESS = 20.0
"""Probabilities are the softmax of so many times the cosine."""

ENCODERS = {"imagenet": "uosam.backends.imagenet.columns:load"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """What was found in a set of pictures; a value.

    Attributes:
        centroids: (N, D) of length 1.
        groups: (N,) the class that each cluster belongs to, 0..K-1.
        mean: (C,) taken off the columns; nothing for cosines.
        axes: (C, D) what they are multiplied with then; (0, 0) for cosines.
    """

    centroids: Floats
    groups: np.ndarray
    mean: Floats
    axes: Floats

    @property
    def channels(self) -> int:
        """Channels of the columns that the clusters were found in."""
        return len(self.axes) or self.centroids.shape[1]

    def place(self, columns: Floats) -> Floats:
        """Bring columns (..., C) to directions (..., D) of length 1 in the space of clustering."""
        if len(self.axes):
            columns = (columns - self.mean) @ self.axes
        lengths = np.linalg.norm(columns, axis=-1, keepdims=True)
        return np.asarray(columns / np.maximum(lengths, 1e-12), np.float32)

    def probabilities(self, columns: Floats) -> Floats:
        """Return (..., K) of columns (..., C): each class has those of its clusters."""
        logits = SHARPNESS * (self.place(columns) @ self.centroids.T)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares = powers / powers.sum(axis=-1, keepdims=True)
        members = np.eye(self.groups.max() + 1, dtype=np.float32)[self.groups]
        return np.asarray(shares @ members, np.float32)


def load(
    path: str | Path | None = None,
    *,
    classes: int = 27,
    over: int = 1,
    space: Space = "cosine",
    dims: int = 64,
    side: int = 384,
    pictures: Sequence[Path] = (),
    clusters: str | Path | None = None,
    save: str | Path | None = None,
    seed: int = 0,
    encoder: str = "imagenet",
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Cluster the columns of a set of pictures, or take clusters from an earlier run.

    Args:
        path: weights of the encoder; None for those that an installed package brings.
        classes: how many classes come out.
        over: so many times as many clusters are found, then merged by ``merge``; 1 merges nothing.
        space: "cosine" compares the columns as they are; "whiten" the main components of the set,
            each divided by the root of its deviation.
        dims: how many main components.
        side: long side at which a picture is seen.
        pictures: the set; pictures that cannot be read are left out.
        clusters: file of an earlier run, in place of pictures.
        save: where to write the clusters, for other sets and later runs.
        seed: of the clustering.
        encoder: key of ``ENCODERS`` or ``module:function``, called with path, side and device.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to probabilities (K, H, W); channels are classes, from 0.

    Raises:
        BackendError: weights or clusters are missing or do not fit.
        ConfigError: a setting is out of range.
        InputError: the pictures have fewer cells than there are clusters.
    """
    for name, value, least in (("classes", classes, 2), ("over", over, 1), ("dims", dims, 1)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}")
    if space not in ("cosine", "whiten"):
        raise ConfigError(f"space must be cosine or whiten, got {space!r}")
    describe: Describe = lookup("encoder", encoder, ENCODERS)(path, side=side, device=device)
    if clusters is not None:
        return partial(score, describe=describe, clusters=_read(Path(clusters)))
    grids = []
    for picture in pictures:
        # What cannot be read is reported when its turn to be labelled comes.
        with suppress(InputError):
            grids.append(describe(fetch_image(picture)).transpose(1, 2, 0).astype(np.float16))
    found = find(grids, classes, over=over, space=space, dims=dims, seed=seed)
    if save is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **vars(found))
        write_atomic(Path(save), buffer.getvalue())
    return partial(score, describe=describe, clusters=found)


def find(
    grids: Sequence[Floats],
    classes: int,
    *,
    over: int = 1,
    space: Space = "cosine",
    dims: int = 64,
    seed: int = 0,
) -> Clusters:
    """Find classes in the grids (h, w, C) of a set of pictures.

    Raises:
        InputError: there are fewer cells than clusters.
    """
    spread = [_spread(grid) for grid in grids]
    cells = np.concatenate(spread).astype(np.float32) if spread else np.zeros((0, 1), np.float32)
    none = np.zeros((0, 0), np.float32)
    frame = Clusters(centroids=none, groups=np.arange(0), mean=np.zeros(0, np.float32), axes=none)
    if space == "whiten" and len(cells):
        mean, axes = whiten(cells, dims)
        frame = Clusters(centroids=none, groups=frame.groups, mean=mean, axes=axes)
    centroids = cluster(frame.place(cells), classes * over, seed)
    groups = np.arange(classes)
    if over > 1:
        maps = [(frame.place(grid.astype(np.float32)) @ centroids.T).argmax(2) for grid in grids]
        groups = merge(centroids, maps, classes)
    return Clusters(centroids=centroids, groups=groups, mean=frame.mean, axes=frame.axes)


def whiten(cells: Floats, dims: int) -> tuple[Floats, Floats]:
    """Return mean (C,) and axes (C, D) of the main components of (N, C) cells.

    Components are divided by the root of their deviation: half of what whitening does, since whole
    whitening lets the last components, which are noise, count as much as the first.
    """
    mean = cells.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((cells - mean).T, ddof=0).reshape(len(mean), -1))
    order = np.argsort(-values)[:dims]
    kept = np.maximum(values[order], 0) + 1e-6 * values.max() + 1e-12
    return mean, np.asarray(vectors[:, order] / kept**0.25, np.float32)


def merge(centroids: Floats, maps: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Merge clusters that look alike and occur together, by average linkage.

    Args:
        centroids: (N, D) of length 1.
        maps: cluster of each cell (h, w) of each picture.
        classes: how many groups are left, at most N.

    Returns:
        (N,) group of each cluster, numbered from 0 in the order of their first clusters.
    """
    count = len(centroids)
    shares = np.stack([np.bincount(m.ravel(), minlength=count) / max(1, m.size) for m in maps])
    together = np.sqrt(shares).T @ np.sqrt(shares)
    own = np.sqrt(np.maximum(np.diag(together), 1e-12))
    alike = (centroids @ centroids.T + together / np.outer(own, own)) / 2
    apart = np.maximum(1 - (alike + alike.T) / 2, 0)
    np.fill_diagonal(apart, 0)
    found = fcluster(linkage(squareform(apart, checks=False), "average"), classes, "maxclust")
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def score(image: Image, *, describe: Describe, clusters: Clusters) -> Floats:
    """Return probabilities (K, H, W) of a picture's cells, enlarged bilinearly.

    Raises:
        BackendError: the clusters have another number of channels than the columns.
    """
    columns = describe(image).transpose(1, 2, 0)
    if columns.shape[2] != clusters.channels:
        raise BackendError(
            f"clusters must be of the {columns.shape[2]} channels of the encoder, got "
            f"{clusters.channels}; they were found with another encoder"
        )
    shares = np.ascontiguousarray(clusters.probabilities(columns).transpose(2, 0, 1))
    return enlarge(torch.from_numpy(shares)[None], image.shape[:2])


def _spread(grid: Floats) -> Floats:
    """Return at most ``CELLS`` cells (N, C), evenly spread over the picture."""
    cells = grid.reshape(-1, grid.shape[2])
    step = max(1, -(-len(cells) // CELLS))
    return cells[step // 2 :: step]


def _read(path: Path) -> Clusters:
    """Read the file that ``save`` wrote.

    Raises:
        BackendError: it is missing or no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Clusters(**{name: stored[name] for name in stored})
        whole = found.centroids.ndim == 2 and found.groups.shape == found.centroids.shape[:1]
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BackendError(
            f"{path} must be the file of clusters, got {type(error).__name__}; write it with "
            "-s save=FILE"
        ) from error
    if not whole:
        raise BackendError(f"{path} must hold centroids and their groups; write it again")
    return cast(Clusters, found)

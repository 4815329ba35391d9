"""Classes by k-means on the features of a frozen encoder, the idea behind DeepCluster.

Caron et al., ECCV 2018, alternate k-means and training; no segmentation weights were released.
Here the features are those of any backend of this package or of a timm model, clustered once over
a set of pictures, and every cell takes the class of its nearest centroid.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from uosam.backends import BackendOptions, load_backend
from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.images import fetch_image
from uosam.structures import Embedding, Floats, Image

from .pictures import enlarge
from .timm_features import load as load_timm

CELLS = 256
"""Cells of a picture that take part in the clustering at most, evenly spread."""

STEPS, RESTARTS = 20, 5


class Encoder(Protocol):
    """What k-means needs of a backend."""

    def embed(self, image: Image) -> Embedding:
        """Encode one (H, W, 3) RGB picture."""
        ...


def load(
    path: str | Path | None = None,
    *,
    backend: str = "graphcut",
    timm: str | None = None,
    classes: int = 27,
    pictures: Sequence[Path] = (),
    centroids: str | Path | None = None,
    save: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Cluster the features of a set of pictures, or take centroids from an earlier run.

    Args:
        path: weights of the backend or timm model; None for a backend without, or one in the user
            cache.
        backend: whose features: a key of ``uosam.backends.BACKENDS`` or ``module:function``.
        timm: name of a timm model whose last feature map is clustered, in place of a backend.
        classes: number of clusters.
        pictures: the set; pictures that cannot be read are left out.
        centroids: ``.npy`` (K, C) in place of pictures.
        save: where to write the centroids, for other sets and later runs.
        seed: of the clustering.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) cosines; every channel is a cluster, from 0.

    Raises:
        BackendError: weights or centroids are missing or do not fit.
        ConfigError: ``classes`` is below 2.
        InputError: the pictures have fewer cells than there are classes.
    """
    if classes < 2:
        raise ConfigError(f"classes must be at least 2, got {classes}")
    encoder: Encoder
    if timm is not None:
        encoder = load_timm(timm, path, device=device)
    else:
        checkpoint = str(path) if path else None
        encoder = load_backend(BackendOptions(name=backend, checkpoint=checkpoint, device=device))
    if centroids is not None:
        return partial(score, backend=encoder, centroids=_read(Path(centroids)))
    cells = []
    for picture in pictures:
        # What cannot be read is reported when its turn to be labelled comes.
        with suppress(InputError):
            cells.append(_spread(_directions(encoder.embed(fetch_image(picture)))))
    found = np.concatenate(cells) if cells else np.zeros((0, 1), np.float32)
    centres = cluster(found, classes, seed)
    if save is not None:
        buffer = io.BytesIO()
        np.save(buffer, centres)
        write_atomic(Path(save), buffer.getvalue())
    return partial(score, backend=encoder, centroids=centres)


def cluster(cells: Floats, classes: int, seed: int) -> Floats:
    """Return (K, C) centroids of length 1 of (N, C) directions: k-means on the sphere, by faiss.

    Raises:
        InputError: there are fewer cells than classes.
    """
    import faiss

    if len(cells) < classes:
        raise InputError(
            f"{classes} classes need at least as many cells, got {len(cells)}; give more pictures"
        )
    kmeans = faiss.Kmeans(
        cells.shape[1],
        classes,
        niter=STEPS,
        nredo=RESTARTS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
    )
    kmeans.train(np.ascontiguousarray(cells, np.float32))
    return np.asarray(kmeans.centroids, np.float32)


def score(image: Image, *, backend: Encoder, centroids: Floats) -> Floats:
    """Return (K, H, W) cosines of a picture's cells with the centroids, enlarged bilinearly.

    Raises:
        BackendError: the centroids have another number of channels than the features.
    """
    directions = _directions(backend.embed(image))
    if directions.shape[2] != centroids.shape[1]:
        raise BackendError(
            f"centroids must have the {directions.shape[2]} channels of the features, got "
            f"{centroids.shape[1]}; they were made with another backend"
        )
    cosines = np.ascontiguousarray((directions @ centroids.T).transpose(2, 0, 1))
    return enlarge(torch.from_numpy(cosines)[None], image.shape[:2])


def _directions(embedding: Embedding) -> Floats:
    """Return (h, w, C) features of length 1 of the cells that the picture covers."""
    rows, cols = (max(1, round(side)) for side in embedding.extent)
    cells = embedding.features[:, :rows, :cols].transpose(1, 2, 0)
    lengths = np.linalg.norm(cells, axis=2, keepdims=True)
    return np.asarray(cells / np.maximum(lengths, 1e-12), np.float32)


def _spread(directions: Floats) -> Floats:
    """Return at most ``CELLS`` cells (N, C), evenly spread over the picture."""
    cells = directions.reshape(-1, directions.shape[2])
    step = max(1, -(-len(cells) // CELLS))
    return cells[step // 2 :: step]


def _read(path: Path) -> Floats:
    """Read (K, C) centroids.

    Raises:
        BackendError: the file is missing or no such array.
    """
    try:
        centroids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BackendError(
            f"{path} must be the .npy file of centroids, got {type(error).__name__}"
        ) from error
    if getattr(centroids, "ndim", 0) != 2:
        raise BackendError(f"{path} must be (K, C) centroids; write them with -s save=FILE")
    return np.asarray(centroids, np.float32)

"""MaskContrast: semantic segmentation by contrasting object mask proposals.

Van Gansbeke et al., ICCV 2021. The network gives an embedding and a saliency per pixel; classes
exist only for a set of pictures: each picture's salient pixels are summed up in one prototype,
and the prototypes are clustered. Every picture therefore has one object class.

    model = load("VOCSegmentation_unsupervised_saliency_model.pth.tar")
    clusters = cluster(np.stack([model.prototype(image) for image in images]))
    scores = model.scores(images[0], clusters)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, fill, take, tensors
from uosam.errors import BackendError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.images import fetch_image
from uosam.structures import Floats, Image

from .pictures import check_picture, normalise
from .resnet import build_resnet, stages

SIDE = 512
SALIENT = 0.5
"""Saliency, a raw output without a sigmoid, above which a pixel belongs to the object."""

COMPONENTS, CLUSTERS, BATCH = 32, 20, 1000
SEED = 1234
"""Published scores are the mean over this seed and the next four."""


def load(path: str | Path, *, device: str = "auto") -> MaskContrast:
    """Load a MaskContrast checkpoint; of its two encoders the query encoder counts.

    Args:
        path: the pretrained ``.pth.tar``, with embedding and saliency heads.
        device: "auto" or a torch device.

    Raises:
        BackendError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    state = tensors(entry(read_checkpoint(path), "model", path), path, prefix="module.model_q.")
    backbone = tensors(state, path, prefix="backbone.")
    heads = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    with torch.device("meta"):
        network = Heads(take(heads, "head.weight", path).shape[0])
    where = choose_device(device)
    fill(network, heads, path)
    return MaskContrast(
        resnet=build_resnet(backbone, path, dilated=True, ignored=("fc.",)).to(where),
        heads=network.to(where),
        device=where,
    )


def load_fitted(
    path: str | Path,
    *,
    pictures: Sequence[Path] = (),
    clusters: str | Path | None = None,
    save: str | Path | None = None,
    seed: int = SEED,
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Load a checkpoint and the clusters of a set, or make them from its pictures.

    Args:
        path: as for ``load``.
        pictures: the set; pictures that cannot be read are left out.
        clusters: file that ``save`` wrote, in place of pictures.
        save: where to write the clusters as ``.npz``, for other sets and later runs.
        seed: of the clustering.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K + 1, H, W) scores; see ``MaskContrast.scores``.

    Raises:
        BackendError: a file is missing, damaged or of another model.
        InputError: there are too few pictures.
    """
    model = load(path, device=device)
    if clusters is not None:
        return partial(model.scores, clusters=read_clusters(Path(clusters)))
    prototypes = []
    for picture in pictures:
        # What cannot be read is reported when its turn to be labelled comes.
        with suppress(InputError):
            prototypes.append(model.prototype(fetch_image(picture)))
    stacked = np.stack(prototypes) if prototypes else np.zeros((0, COMPONENTS), np.float32)
    found = cluster(stacked, seed=seed)
    if save is not None:
        found.save(Path(save))
    return partial(model.scores, clusters=found)


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """What turns a prototype into a class.

    Attributes:
        mean: (E,) of the prototypes.
        whitening: (E, P) principal components, divided by their deviations.
        centres: (K, P) cluster centres in whitened space.
        labels: (N,) cluster of every prototype the clusters were made from.
    """

    mean: Floats
    whitening: Floats
    centres: Floats
    labels: NDArray[np.int64]

    def distances(self, prototype: Floats) -> Floats:
        """Return (K,) distances of an (E,) prototype to the centres."""
        whitened = (prototype - self.mean) @ self.whitening
        return np.asarray(np.linalg.norm(self.centres - whitened, axis=1), np.float32)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` that ``read_clusters`` reads."""
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        write_atomic(path, buffer.getvalue())


def read_clusters(path: Path) -> Clusters:
    """Read clusters from a file.

    Raises:
        BackendError: the file is missing or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return Clusters(**{name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise BackendError(
            f"{path} must be an .npz of clusters, got {type(error).__name__}; make one with "
            "-s save=FILE"
        ) from error


def cluster(prototypes: Floats, *, clusters: int = CLUSTERS, seed: int = SEED) -> Clusters:
    """Cluster the (N, E) prototypes of a set of pictures.

    Whitened principal components, then mini-batch k-means, as published. scikit-learn 1.4 lowered
    the number of its restarts from three to one, so that partitions differ from older versions.

    Raises:
        InputError: there are fewer pictures than principal components or clusters.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    if prototypes.ndim != 2 or len(prototypes) < max(COMPONENTS, clusters):
        raise InputError(
            f"prototypes must be (N, E) of at least {max(COMPONENTS, clusters)} pictures, got "
            f"{prototypes.shape}; give more pictures"
        )
    pca = PCA(n_components=COMPONENTS, whiten=True)
    whitened = pca.fit_transform(prototypes)
    kmeans = MiniBatchKMeans(n_clusters=clusters, batch_size=BATCH, random_state=seed)
    labels = kmeans.fit_predict(whitened)
    return Clusters(
        mean=pca.mean_,
        whitening=pca.components_.T / np.sqrt(pca.explained_variance_),
        centres=kmeans.cluster_centers_,
        labels=np.asarray(labels, np.int64),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskContrast:
    """A network that embeds pixels and says which are salient.

    Attributes:
        resnet: of stride 8, without its classifier.
        heads: the DeepLab head and both outputs.
        device: where both are.
    """

    resnet: ResNet
    heads: nn.Module
    device: torch.device

    @torch.inference_mode()
    def embed(self, image: Image) -> tuple[Floats, Floats]:
        """Return (E, 512, 512) embeddings and (512, 512) saliency of a squashed picture."""
        check_picture(image)
        squashed = np.asarray(
            cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8
        )
        maps = self.heads(stages(self.resnet, normalise(squashed, self.device))[-1])
        embedding, saliency = (
            F.interpolate(grid, (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
            for grid in maps
        )
        return embedding.cpu().numpy(), saliency[0].cpu().numpy()

    def prototype(self, image: Image) -> Floats:
        """Return the (E,) vector of length 1 that stands for a picture's salient pixels.

        It is the sum of embeddings weighted by saliency where that is above ``SALIENT``; zeros if
        nothing is.
        """
        return prototype_of(*self.embed(image))

    def scores(self, image: Image, clusters: Clusters) -> Floats:
        """Score a picture: (K + 1, H, W), channel 0 the background, channel k cluster k - 1.

        The nearest cluster scores the saliency, the others as much less as they are farther away,
        the background the threshold of saliency; the argmax is the published map, brought to the
        picture by OpenCV's nearest neighbour.
        """
        embedding, saliency = self.embed(image)
        distances = clusters.distances(prototype_of(embedding, saliency))
        near = saliency[np.ix_(*nearest_grid(image.shape[:2]))]
        lag = (distances - distances.min())[:, None, None]
        return np.concatenate([np.full((1, *near.shape), SALIENT, np.float32), near - lag])


def nearest_grid(hw: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Return rows and columns of the square that OpenCV's nearest neighbour takes for a picture."""
    return [np.minimum(np.arange(side) * SIDE // side, SIDE - 1) for side in hw]


def prototype_of(embedding: Floats, saliency: Floats) -> Floats:
    """Sum (E, h, w) embeddings over the salient pixels and bring the sum to length 1."""
    weights = np.where(saliency > SALIENT, saliency, 0)
    total = np.einsum("ehw,hw->e", embedding, weights)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


class Heads(nn.Module):
    """torchvision's DeepLab v3 head and, in place of its last layer, two 1x1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            ASPP(2048, [12, 24, 36]),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(256, width, 1)
        self.classification_head = nn.Conv2d(256, 1, 1, bias=False)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, 2048, h, w) to embeddings (B, E, h, w) and saliency (B, 1, h, w)."""
        decoded = self.decoder(features)
        return self.head(decoded), self.classification_head(decoded)

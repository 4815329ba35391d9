"""The dense CRF that sharpens the output of STEGO, SmooSeg, CAUSE and MaskContrast.

``dense_crf`` takes the scores of a network; ``refine_dense_crf`` takes a label map alone.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", 2011, through the package pydensecrf, with the constants all four projects use.
"""

from __future__ import annotations

import numpy as np

from uosam.errors import BackendError, ConfigError
from uosam.labels import check_label_map
from uosam.structures import IGNORE, Floats, Image, LabelMap

STEPS = 10
SMOOTH_XY, SMOOTH_WEIGHT = 1, 3
EDGE_XY, EDGE_RGB, EDGE_WEIGHT = 67, 3, 4


def dense_crf(log_probabilities: Floats, guide: Image) -> Floats:
    """Sharpen class scores along the edges of a picture.

    Args:
        log_probabilities: (K, h, w).
        guide: (h, w, 3) uint8; the projects give BGR, which matters to none of the constants.

    Returns:
        (K, h, w) probabilities.

    Raises:
        BackendError: the package pydensecrf is not installed.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise BackendError(
            "the dense CRF needs the package pydensecrf, which is not installed; get it with "
            "pip install 'uosam[crf]' (it is compiled, and needs a C++ compiler)"
        ) from error
    count, height, width = log_probabilities.shape
    crf = DenseCRF2D(width, height, count)
    # The floor keeps a class that is ruled out from an infinite energy.
    energy = -np.log(np.clip(np.exp(log_probabilities), 1e-5, 1))
    crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(count, -1), np.float32))
    crf.addPairwiseGaussian(sxy=SMOOTH_XY, compat=SMOOTH_WEIGHT)
    crf.addPairwiseBilateral(
        sxy=EDGE_XY, srgb=EDGE_RGB, rgbim=np.ascontiguousarray(guide), compat=EDGE_WEIGHT
    )
    return np.asarray(crf.inference(STEPS), np.float32).reshape(log_probabilities.shape)


def refine_dense_crf(
    image: Image, coarse: LabelMap, *, background: int | None = 0, confidence: float = 0.9
) -> LabelMap:
    """Sharpen a label map by mean-field inference, its labels being likely but not certain.

    Source: equations 1 to 3 of the paper for the energy, algorithm 1 for the inference; constants
    as in ``dense_crf``. A label map has no scores, so every pixel's own label gets ``confidence``
    and the others share the rest, as DPSS (Jittor challenge 2023) does with 0.9.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE favours no label and stays where it is.
        background: taken as every method takes it; the background is a label like any.
        confidence: probability of a pixel's own label, in (0, 1).

    Returns:
        (H, W) labels; a map of a single label comes back as it is.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
        ConfigError: ``confidence`` lies outside (0, 1).
        BackendError: the package pydensecrf is not installed.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be above 0 and below 1, got {confidence}")
    known = coarse != IGNORE
    ids = np.unique(coarse[known])
    if len(ids) < 2:
        return coarse.copy()
    own = coarse[None] == ids[:, None, None]
    likely = np.where(own, confidence, (1 - confidence) / (len(ids) - 1))
    likely[:, ~known] = 1 / len(ids)
    probability = dense_crf(np.log(likely).astype(np.float32), image)
    return np.where(known, ids[probability.argmax(axis=0)], IGNORE).astype(np.int32)

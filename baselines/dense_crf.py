"""The dense CRF that sharpens the output of STEGO, SmooSeg, CAUSE and MaskContrast.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", 2011, through the package pydensecrf, with the constants all four projects use.
"""

from __future__ import annotations

import numpy as np

from uosam.errors import BackendError
from uosam.structures import Floats, Image

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

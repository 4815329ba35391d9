"""Build promptable segmenters behind the two methods of ``Backend``: a folder a family.

May import structures, errors, lookup, coerce, labels, stages; torch and model libraries only here.
The table of names (``models.py``) holds text, so that listing models imports no model library.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uosam.backends.models import MODELS
from uosam.errors import BackendError, ConfigError
from uosam.lookup import lookup
from uosam.structures import Backend

log = logging.getLogger(__name__)

BACKENDS = {model.name: model.load for model in MODELS.values()}
"""Name to ``module:function``, for ``lookup``."""


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """Which segmenter, from which file, on which device.

    Attributes:
        name: a key of ``BACKENDS`` or ``module:function`` of code outside this package.
        checkpoint: weights file, or for "hf" a folder; None looks into the user cache
            (``uosam models``).
        device: "auto" takes CUDA, then MPS, then the CPU; or any torch device name.
        precision: arithmetic of the encoder and decoder; bfloat16 on request, never float16,
            which overflows in vit_h and MobileSAM.
        tf32: whether a CUDA device may round the factors of float32 products to 10 bits, in
            matrices and in convolutions; faster, and masks differ at some pixels of their outlines.
        batch_size: prompts decoded at a time; halved on out-of-memory.
        compile: let ``torch.compile`` work on the image encoder at the first picture, which takes
            seconds to minutes. It gains nothing on CPUs and was not measured elsewhere; only SAM
            models.
        side: pixels of a picture's short side in the network of Semantic-SAM, at least 32; fewer
            are faster. The long side stays within 1333. Other models have a size of their own.
        order: what numbers the levels of granularity: the "token" that the model learnt for each,
            or the "area" of the masks of a click, which never grows from level to level. Models
            whose levels are those of areas know no other order.
    """

    name: str = "tiny"
    checkpoint: str | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    tf32: bool = False
    batch_size: int = 64
    compile: bool = False
    side: int = 640
    order: Literal["token", "area"] = "token"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: ``batch_size`` or ``side`` is too small, or ``precision`` or ``order`` is
                not offered.
        """
        if self.side < 32:
            raise ConfigError(f"backend.side must be at least 32 pixels, got {self.side}")
        if self.order not in ("token", "area"):
            raise ConfigError(f"backend.order must be token or area, got {self.order!r}")
        if self.batch_size < 1:
            raise ConfigError(f"backend.batch_size must be at least 1, got {self.batch_size}")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(
                f"backend.precision must be float32 or bfloat16, got {self.precision!r}; "
                "float16 overflows in SAM and is not offered"
            )


def load_backend(options: BackendOptions) -> Backend:
    """Build the backend that ``options`` names.

    Raises:
        ConfigError: the name is not known.
        BackendError: its checkpoint is missing, wrong or damaged.
    """
    log.info("loading %s for device %s", options.name, options.device)
    backend: Backend = lookup("backend", options.name, BACKENDS)(options)
    return backend


def weights_digest(options: BackendOptions) -> str:
    """Return SHA-256 of the weights file or folder of ``options``, or "none" without one.

    It belongs into the fingerprint of everything that determines an output. A backend from outside
    this package is known by the file given with it.

    Raises:
        BackendError: the weights file is missing or empty, or the folder is without files.
    """
    from uosam.backends.weights.checkpoints import file_digest, find_checkpoint, folder_digest

    model = MODELS.get(options.name)
    if model is not None and model.file is not None:
        return file_digest(find_checkpoint(options.name, options.checkpoint))
    takes_none = model is not None and not model.folder
    if takes_none or options.checkpoint is None:
        return "none"
    path = Path(options.checkpoint).expanduser()
    if path.is_dir():
        return folder_digest(path)
    if not path.is_file():
        raise BackendError(
            f"checkpoint must be a weights file for {options.name}, found nothing at {path}"
        )
    return file_digest(path)

"""Any depth network of transformers, behind ``DepthModel``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uosam.backends.device import choose_device
from uosam.backends.text.folders import Config, load_network, load_processor, read_config
from uosam.errors import BackendError
from uosam.geometry.depth_map import DepthMap, Kind
from uosam.structures import Image

PURPOSE = "a depth network"
_KINDS: dict[str, Kind | None] = {
    "depth_anything": None,
    "prompt_depth_anything": None,
    "depth_pro": "metric",
    "dpt": "inverse",
    "glpn": "metric",
    "tipsv2_dpt": "metric",
    "zoedepth": "metric",
}
"""Model type to what its numbers mean; None: ``depth_estimation_type`` of the folder says."""
_SMALLEST = 1e-6  # share of the largest inverse depth that stands for infinitely far


def load(folder: str | Path, device: str = "auto") -> FolderDepth:
    """Load a depth network from the folder that ``save_pretrained`` wrote.

    Args:
        folder: of Depth Anything, Depth Pro, DPT, GLPN, TIPS or ZoeDepth.
        device: "auto" or a torch device.

    Raises:
        BackendError: the folder is missing, damaged or of another kind of model.
    """
    kind = depth_kind(folder)
    where = choose_device(device)
    return FolderDepth(
        network=load_network(folder, "AutoModelForDepthEstimation", PURPOSE).to(where),
        processor=load_processor(folder, PURPOSE, "AutoImageProcessor"),
        device=where,
        kind=kind,
    )


def depth_kind(folder: str | Path) -> Kind:
    """Tell whether a folder's network estimates metres or only what is nearer than what.

    Raises:
        BackendError: the folder is missing or of another kind of model.
    """
    config: Config = read_config(folder, PURPOSE)
    name = config.get("model_type")
    if name not in _KINDS:
        raise BackendError(
            f"{folder} must hold {PURPOSE} ({', '.join(_KINDS)}), got {name!r}; give another folder"
        )
    told = config.get("depth_estimation_type", "relative")
    return _KINDS[name] or ("metric" if told == "metric" else "inverse")


@dataclass(frozen=True, eq=False, kw_only=True)
class FolderDepth:
    """A ``DepthModel`` over a network of transformers.

    Attributes:
        network: in evaluation mode.
        processor: of the folder.
        device: where it computes.
        kind: what its numbers mean.
    """

    network: Any
    processor: Any
    device: torch.device
    kind: Kind

    @torch.inference_mode()
    def estimate(self, image: Image) -> DepthMap:
        """Return the depth of an (H, W, 3) RGB picture, at its size.

        What the network puts at infinity (0 or less) is the smallest number above 0 in inverse
        depth, and not measured in metres.

        Raises:
            InputError: the network says the same of every pixel, that it is infinitely far.
        """
        size = (image.shape[0], image.shape[1])
        inputs = self.processor(images=np.array(image), return_tensors="pt").to(self.device)
        outputs = self.network(**inputs)
        # ZoeDepth pads the picture and must be told its size to cut the border off again.
        sizes = {"source_sizes": [size]} if "ZoeDepth" in type(self.processor).__name__ else {}
        (found,) = self.processor.post_process_depth_estimation(
            outputs, target_sizes=[size], **sizes
        )
        values = np.asarray(found["predicted_depth"].float().cpu(), np.float32)
        if self.kind == "inverse" and (values > 0).any():
            values = np.maximum(values, np.float32(_SMALLEST) * values.max())
        return DepthMap(z=np.where(values > 0, values, np.nan).astype(np.float32), kind=self.kind)

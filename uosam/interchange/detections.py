"""A label map as ``supervision.Detections``, for its annotators, trackers and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uosam.errors import ConfigError
from uosam.interchange.legend import Legend
from uosam.labels import box
from uosam.structures import IGNORE, LabelMap

if TYPE_CHECKING:
    import supervision


def to_detections(labels: LabelMap, legend: Legend) -> supervision.Detections:
    """Return a mask, box, id and ``class_name`` for each class of an (H, W) map.

    Raises:
        ConfigError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise ConfigError(
            "detections need the package supervision, which is not installed; get it with "
            "pip install supervision"
        ) from error
    present = [i for i in np.unique(labels).tolist() if i not in (IGNORE, legend.background)]
    if not present:
        return supervision.Detections.empty()
    masks = np.stack([labels == i for i in present])
    titles = {**{i: str(i) for i in present}, **legend.titles}
    boxes = np.stack([box(mask) for mask in masks])
    boxes[:, 2:] += 1  # theirs end at the far edge of the last pixel
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        class_id=np.array(present),
        data={"class_name": np.array([titles[i] for i in present])},
    )

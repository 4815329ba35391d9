"""Names and phrases for what is on the desk."""

from __future__ import annotations

import numpy as np

from uosam.api.captions import caption
from uosam.api.names import name
from uosam.datasets.vocabulary import BUILT_IN
from uosam.structures import Image, LabelMap


def say(
    image: Image,
    ids: LabelMap,
    names: str | None,
    captions: str | None,
    vocabulary: str | None = None,
    *,
    device: str = "auto",
) -> list[list[str]]:
    """Return id, name and phrase of every class of a map, as far as models are given.

    Args:
        image: (H, W, 3) RGB.
        ids: (H, W); 0 and IGNORE get no words.
        names: folder of an image-text model, "imagenet", or None for no names.
        captions: folder of an image-to-text model, or None for no phrases.
        vocabulary: a built-in one, or names with commas between them; never the name of a file,
            since a visitor may write anything. None takes that of the model.
        device: "auto" or a torch device.

    Raises:
        ConfigError: the model does not know one of the names.
        BackendError: a model cannot be loaded.
    """
    words = {int(i): ["", ""] for i in np.unique(ids) if i > 0}
    if names is not None and words:
        folder = None if names == "imagenet" else names
        found = name(
            image,
            ids,
            _read(vocabulary) or ("imagenet" if folder is None else "voc"),
            checkpoint=folder,
            device=device,
            min_regions=1,
        )
        for label, one in found.items():
            words[label][0] = one.text
    if captions is not None and words:
        for said in caption(image, ids, checkpoint=captions, device=device):
            if said.label in words:
                words[said.label][1] = words[said.label][1] or said.caption.text
    return [[str(label), *texts] for label, texts in words.items()]


def _read(text: str | None) -> str | list[str] | None:
    text = (text or "").strip()
    if text in BUILT_IN:
        return text
    return [part.strip() for part in text.split(",") if part.strip()] or None

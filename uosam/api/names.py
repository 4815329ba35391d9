"""Name clusters from Python: pictures, masks and words in, a name for each id out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uosam.api.masks import to_labels
from uosam.api.pictures import to_image
from uosam.backends.text.models import TextOptions, load_image_text
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import Vocabulary, parse_vocabulary, read_vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import Choice
from uosam.regions.crops import Region, draw_lots, find_regions
from uosam.regions.naming import (
    Name,
    NamingOptions,
    name_clusters,
    probabilities,
    similarities,
)
from uosam.regions.views import View, best_view, embed_regions
from uosam.runs.naming.vote import ask_for, check_choice

if TYPE_CHECKING:
    from uosam.api.pictures import ImageLike, MaskLike

PER_ID = 200
"""Regions of one id that are looked at, drawn by lot."""


def name(
    images: ImageLike | Sequence[ImageLike],
    masks: MaskLike | Sequence[MaskLike],
    vocabulary: str | os.PathLike[str] | Sequence[str] | Vocabulary = "voc",
    *,
    model: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    background: Choice = "default",
    view: View | None = None,
    min_area: float = 0.01,
    **options: Any,
) -> dict[int, Name]:
    """Give every id of some masks the name that its regions vote for.

    Args:
        images: one picture or several, as ``uosam.refine`` takes them.
        masks: as many.
        vocabulary: "voc", "cocostuff", "cityscapes", "imagenet", a text file, or its lines:
            ``["cat; tabby", "sky"]``.
        model: "imagenet" (the default), "folder" (where ``checkpoint`` is given) or
            ``module:function``.
        checkpoint: local folder of a CLIP or SigLIP of transformers.
        device: "auto" or a torch device.
        background: id that is no object and gets no name, None where every id is a class; 0 by
            default.
        view: how a region is shown; None takes all views that the model offers.
        min_area: smallest region, as a share of its picture.
        options: of ``NamingOptions``, such as ``min_regions=1`` or ``assign="one-to-one"``.

    Returns:
        Id to name, in order of id; "unknown" where few regions agree, or there are fewer than
        three of them.

    Raises:
        InputError: pictures and masks are not as many, not of one size, or without a region.
        ConfigError: an option is unknown or out of range.
        BackendError: the model cannot be loaded.

    >>> names = uosam.name(["a.jpg", "b.jpg"], ["a.png", "b.png"], "voc")  # doctest: +SKIP
    >>> names[3].text, names[3].best  # doctest: +SKIP
    """
    try:
        naming = NamingOptions(**options)
    except TypeError as error:
        raise ConfigError(
            f"name takes the options {', '.join(NamingOptions.__dataclass_fields__)}, got "
            f"{', '.join(options)}"
        ) from error
    pairs = list(zip(*_as_many(images, masks), strict=True))
    labels = [to_labels(mask, background=background) for _, mask in pairs]
    found: list[Region] = []
    for number, file in enumerate(labels):
        found += find_regions(
            file.labels, f"{number:09d}", min_area=min_area, background=file.spec.background
        )
    regions = draw_lots(found, PER_ID)
    if not regions:
        raise InputError(
            f"no id has a part of {min_area:.1%} of its picture, so there is nothing to name; "
            "lower min_area, or give background=None if id 0 is a class"
        )
    folder = None if checkpoint is None else os.fspath(checkpoint)
    kind = model or ("imagenet" if folder is None else "folder")
    text = TextOptions(name=kind, checkpoint=folder, device=device)
    reader = load_image_text(text, tuple(synset_names()))
    choice = _to_vocabulary(vocabulary)
    check_choice(choice, closed=reader.exclusive)
    words = ask_for(choice, reader)
    rows = []
    for number, ((picture, _), file) in enumerate(zip(pairs, labels, strict=True)):
        own = [region for region in regions if int(region.picture) == number]
        if not own:
            continue
        image = to_image(picture)
        if image.shape[:2] != file.labels.shape:
            raise InputError(
                f"mask {number} must have the size of its picture {image.shape[:2]}, got "
                f"{file.labels.shape}"
            )
        seen = embed_regions(reader, image, own, view or best_view(reader))
        rows.append(similarities(seen, words.texts, words.owner, exclusive=reader.exclusive))
    ids = np.array([region.label for region in regions])
    return name_clusters(
        probabilities(np.concatenate(rows), ids, scale=reader.scale, debias=naming.debias),
        ids,
        np.array([region.share for region in regions], np.float32),
        [region.picture for region in regions],
        words.names,
        naming,
    )


def _as_many(images: Any, masks: Any) -> tuple[list[Any], list[Any]]:
    """Return pictures and masks as lists of one length; one of either is a list of one."""
    several = [list(x) if isinstance(x, (list, tuple)) else [x] for x in (images, masks)]
    if len(several[0]) != len(several[1]) or not several[0]:
        raise InputError(
            f"every picture must have its mask, got {len(several[0])} pictures and "
            f"{len(several[1])} masks"
        )
    return several[0], several[1]


def _to_vocabulary(source: str | os.PathLike[str] | Sequence[str] | Vocabulary) -> Vocabulary:
    if isinstance(source, Vocabulary):
        return source
    if isinstance(source, str):
        return read_vocabulary(source)
    return (
        read_vocabulary(Path(source))
        if isinstance(source, os.PathLike)
        else (parse_vocabulary(list(source)))
    )

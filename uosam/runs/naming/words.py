"""More words for a vocabulary: what a captioner says of the regions again and again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from uosam.datasets.vocabulary import Entry, Vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.images import read_image
from uosam.regions.crops import whole_mask
from uosam.runs.naming.regions import Looked, region_of
from uosam.structures import Image, ImageText, Masks, Sample

LEAST, MOST = 3, 50
"""Regions of one id that a phrase must be seen in, and phrases that are added."""


class Phrases(Protocol):
    """Whatever finds noun phrases for regions."""

    def find(self, image: Image, masks: Masks) -> list[tuple[str, ...]]:
        """Return the phrases of each of (M, H, W) masks."""
        ...


def add_phrases(
    vocabulary: Vocabulary,
    phrases: Phrases,
    regions: Sequence[Looked],
    samples: Sequence[Sample],
    model: ImageText,
) -> Vocabulary:
    """Return the vocabulary and the commonest phrases that at least three regions of an id share.

    Args:
        vocabulary: to begin with; its names come first.
        phrases: asked for every region.
        regions: of all pictures.
        samples: with the pictures.
        model: that the words are for.

    Raises:
        ConfigError: the model takes no further words.
        InputError: a picture cannot be read any more.
    """
    if model.exclusive:
        raise ConfigError(
            "captions bring words that an ImageNet model does not know; give --checkpoint FOLDER "
            "of a CLIP or SigLIP, or leave out --captions"
        )
    paths = {sample.name: sample.image for sample in samples}
    by_picture: dict[str, list[Looked]] = defaultdict(list)
    for looked in regions:
        by_picture[looked.picture].append(looked)
    seen: Counter[tuple[str, int]] = Counter()
    for picture, group in by_picture.items():
        path = paths[picture]
        if path is None:
            raise InputError(f"sample {picture!r} must have a picture")
        masks = np.stack([whole_mask(region_of(looked), looked.size) for looked in group])
        for looked, found in zip(group, phrases.find(read_image(path), masks), strict=True):
            seen.update((phrase, looked.label) for phrase in found)
    common = {phrase for (phrase, _), count in seen.items() if count >= LEAST}
    totals = Counter(dict.fromkeys(sorted(common), 0))
    for (phrase, _), count in seen.items():
        if phrase in common:
            totals[phrase] += count
    known = {word.casefold() for entry in vocabulary.entries for word in entry.words}
    added = [phrase for phrase, _ in totals.most_common() if phrase not in known][:MOST]
    entries = (*vocabulary.entries, *(Entry(name=phrase) for phrase in added))
    return Vocabulary(entries=entries, background=vocabulary.background)

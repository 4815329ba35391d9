"""What a captioner says of the regions: more words, or which words to choose from."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from uosam.datasets.vocabulary import Entry, Vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.images import fetch_image
from uosam.regions.crops import whole_mask
from uosam.runs.naming.regions import Looked, region_of
from uosam.structures import Image, ImageText, Masks, Sample

LEAST, MOST = 3, 50
"""Regions of one id that a phrase must be seen in, and phrases that are added."""


class Phrases(Protocol):
    """Whatever finds noun phrases for regions, or captions of them."""

    @property
    def whole_captions(self) -> bool:
        """Whether captions are found, and no phrases of them."""
        ...

    def find(self, image: Image, masks: Masks) -> list[tuple[str, ...]]:
        """Return the phrases of each of (M, H, W) masks, or its caption alone."""
        ...


def learn_words(
    vocabulary: Vocabulary,
    phrases: Phrases,
    regions: Sequence[Looked],
    samples: Sequence[Sample],
    model: ImageText,
) -> tuple[Vocabulary, tuple[str, ...]]:
    """Let captions of the regions add to the names, or choose among them.

    Noun phrases that at least three regions of an id share join the vocabulary, the commonest
    fifty. Where only whole captions are found, its names are those that captions of at least three
    regions of an id contain as whole words; all of them stay if none is.

    Args:
        vocabulary: to begin with; its names come first.
        phrases: asked for every region.
        regions: of all pictures.
        samples: with the pictures.
        model: that the words are for.

    Returns:
        The vocabulary, and what a reader should know.

    Raises:
        ConfigError: the model takes no further words.
        InputError: a picture cannot be read any more.
    """
    if phrases.whole_captions:
        return _keep_said(vocabulary, phrases, regions, samples)
    if model.exclusive:
        raise ConfigError(
            "captions bring words that an ImageNet model does not know; give --checkpoint FOLDER "
            "of a CLIP or SigLIP, or leave out --captions"
        )
    seen: Counter[tuple[str, int]] = Counter()
    for looked, found in _heard(phrases, regions, samples):
        seen.update((phrase, looked.label) for phrase in found)
    common = {phrase for (phrase, _), count in seen.items() if count >= LEAST}
    totals = Counter(dict.fromkeys(sorted(common), 0))
    for (phrase, _), count in seen.items():
        if phrase in common:
            totals[phrase] += count
    known = {word.casefold() for entry in vocabulary.entries for word in entry.words}
    added = [phrase for phrase, _ in totals.most_common() if phrase not in known][:MOST]
    entries = (*vocabulary.entries, *(Entry(name=phrase) for phrase in added))
    return Vocabulary(entries=entries, background=vocabulary.background), ()


def _keep_said(
    vocabulary: Vocabulary,
    phrases: Phrases,
    regions: Sequence[Looked],
    samples: Sequence[Sample],
) -> tuple[Vocabulary, tuple[str, ...]]:
    """Keep the names that captions contain as whole words."""
    seen: Counter[tuple[int, int]] = Counter()
    patterns = [pattern(entry) for entry in vocabulary.entries]
    for looked, found in _heard(phrases, regions, samples):
        text = " ".join(" ".join(found).casefold().split())
        seen.update((i, looked.label) for i, one in enumerate(patterns) if one.search(text))
    said = {index for (index, _), count in seen.items() if count >= LEAST}
    kept = tuple(entry for index, entry in enumerate(vocabulary.entries) if index in said)
    how = "noun phrases need spaCy (pip install 'uosam[captions]'), so captions add no names"
    if not kept:
        note = f"{how}, and contain none of the {len(patterns)} there are often enough: all stay"
        return vocabulary, (note,)
    note = f"{how}, but choose among them: they contain {len(kept)} of {len(patterns)} often enough"
    return Vocabulary(entries=kept, background=vocabulary.background), (note,)


def pattern(entry: Entry) -> re.Pattern[str]:
    """Return what finds a name or a synonym as a whole word in a text in small letters.

    >>> found = pattern(Entry(name="cat", synonyms=("Big  cat",)))
    >>> bool(found.search("a cat.")), bool(found.search("a catalogue"))
    (True, False)
    """
    words = (r"\s+".join(map(re.escape, word.casefold().split())) for word in entry.words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")


def _heard(
    phrases: Phrases, regions: Sequence[Looked], samples: Sequence[Sample]
) -> Iterator[tuple[Looked, tuple[str, ...]]]:
    """Yield every region and what is said of it, picture by picture."""
    paths = {sample.name: sample.image for sample in samples}
    by_picture: dict[str, list[Looked]] = defaultdict(list)
    for looked in regions:
        by_picture[looked.picture].append(looked)
    for picture, group in by_picture.items():
        path = paths[picture]
        if path is None:
            raise InputError(f"sample {picture!r} must have a picture")
        masks = np.stack([whole_mask(region_of(looked), looked.size) for looked in group])
        yield from zip(group, phrases.find(fetch_image(path), masks), strict=True)

"""SSA-engine: open-vocabulary names for the segments of a picture, one segment at a time.

Chen, Yang and Zhang, "Semantic Segment Anything", 2023 (github.com/fudan-zvg), the main program of
the engine, in its order and with its constants: names of two closed-set segmentors and the noun
phrases of a caption are ranked by an image-text model on one crop, and the best three decided
between by a text-prompted segmenter on a larger one.

Repaired: pictures are RGB throughout; where a single candidate is left it is the answer, and no
segmenter is asked (the program dies there); candidates keep their order, so that ties do not
depend on the process. The program's crops are cut at their long ends by CLIP's own preparation; an
image-text model here gets them padded to a square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uosam.backends.text.models import TextOptions, load_image_text
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import InputError
from uosam.labels import box, check_label_map
from uosam.regions.crops import cut, pad_square, ssa_box
from uosam.regions.naming import similarities
from uosam.runs.naming.vote import Words, ask_for
from uosam.stages.global_region import propose
from uosam.stages.proposals import grid_points
from uosam.structures import Backend, Floats, Image, ImageText, LabelMap, Mask, Masks

from .proposal_vote import segment_options

RANK_SCALE, DECIDE_SCALE = 1.2, 1.6
"""How far a segment's box is grown for the image-text model, and for caption and segmenter."""

BEST = 3
"""Names that the segmenter decides between."""

_ENDINGS = ("-merged", "-other", "-stuff")

Rank = Callable[[Image, Sequence[str]], Floats]
"""A crop and T names to (T,) logits."""

Segment = Callable[[Image, Sequence[str]], Floats]
"""A crop and T names to (T, H, W) logits at the size of the crop."""

NounPhrases = Callable[[Image], Sequence[str]]
"""A crop to the noun phrases of its caption."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one segment is called.

    Attributes:
        class_name: the name that won.
        class_proposals: the best names, best first.
        candidates: all names that were ranked, in order of appearance.
    """

    class_name: str
    class_proposals: tuple[str, ...]
    candidates: tuple[str, ...]


def refined_name(name: str) -> str:
    """Return the name of a panoptic class of COCO as the engine says it.

    >>> [refined_name(name) for name in ("grass-merged", "wall-other-merged", "wall-wood")]
    ['grass', 'wall', 'wall']
    """
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return "wall" if name == "wall-wood" else name


def most_frequent(labels: LabelMap, mask: Mask) -> int:
    """Return the id most frequent inside a mask, of equal ones the lower.

    Raises:
        InputError: the mask is empty.
    """
    inside = labels[mask]
    if not len(inside):
        raise InputError("a segment must have at least one pixel, got an empty mask")
    return int(np.bincount(inside).argmax())


def name_segments(
    image: Image,
    masks: Masks,
    closed: Sequence[tuple[LabelMap, Mapping[int, str]]],
    rank: Rank,
    segment: Segment,
    noun_phrases: NounPhrases = lambda crop: (),
) -> list[Decision]:
    """Name every segment of a picture, in the order in which they come.

    Args:
        image: (H, W, 3) RGB.
        masks: (M, H, W) segments, none of them empty.
        closed: maps of closed-set segmentors with the names of their ids.
        rank: the image-text model.
        segment: the text-prompted segmenter.
        noun_phrases: the captioner with what finds noun phrases, articles and all.

    Raises:
        InputError: a mask is empty.
    """
    hw = (image.shape[0], image.shape[1])
    decisions = []
    for mask in masks:
        names = [ids[most_frequent(labels, mask)] for labels, ids in closed]
        x0, y0, x1, y1 = (int(side) for side in box(mask))
        large = ssa_box((x0, y0, x1, y1), DECIDE_SCALE, hw)
        phrases = noun_phrases(cut(image, large))
        candidates = tuple(dict.fromkeys((*names, *phrases)))
        if len(candidates) == 1:
            decisions.append(
                Decision(
                    class_name=candidates[0], class_proposals=candidates, candidates=candidates
                )
            )
            continue
        logits = rank(cut(image, ssa_box((x0, y0, x1, y1), RANK_SCALE, hw)), candidates)
        order = np.argsort(-logits, kind="stable")[:BEST]
        best = tuple(candidates[index] for index in order.tolist())
        winners = segment(cut(image, large), best).argmax(axis=0)
        inside = winners[cut(mask, large)]
        winner = int(np.bincount(inside, minlength=len(best)).argmax())
        decisions.append(
            Decision(class_name=best[winner], class_proposals=best, candidates=candidates)
        )
    return decisions


def refine_ssa_engine(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    vocabulary: str = "voc",
    model: str = "imagenet",
    checkpoint: str | None = None,
    grid: int = 32,
    min_score: float = 0.86,
    min_stability: float = 0.92,
) -> LabelMap:
    """Let an image-text model choose between the two commonest labels of every segment.

    The engine makes no map; this is its ranking in place of the vote of ``proposal_vote``, so that
    both can be scored on the same coarse maps, whose ids are those of the vocabulary. A segment
    of which the background is the commonest label keeps its labels.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE has no say and stays where it is.
        backend: proposes the segments.
        background: id that is no object, or None.
        vocabulary: names of the ids, as ``read_vocabulary`` takes them.
        model: of the words, as ``TextOptions.name``.
        checkpoint: its folder, if it has one.
        grid: points along each side of the picture, at least 1.
        min_score: least estimate of a segment's IoU, in [0, 1].
        min_stability: least stability of a segment, in [0, 1].

    Returns:
        (H, W) labels; pixels of no segment keep theirs, smaller segments overwrite larger ones.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
        BackendError: the model of the words cannot be loaded.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    reader, words, ids = _words(vocabulary, model, checkpoint)
    options = segment_options(image, grid, min_score, min_stability)
    embedding = backend.embed(image)
    masks, _ = propose(grid_points(embedding.image_hw, grid), embedding, backend, options)
    named = coarse.copy()
    for index in np.argsort([-int(mask.sum()) for mask in masks], kind="stable"):
        inside = masks[index] & (coarse >= 0)
        counts = np.bincount(coarse[inside])
        if not counts.any() or int(counts.argmax()) == background:
            continue
        common = [int(label) for label in np.argsort(-counts, kind="stable")[:2] if counts[label]]
        able = [label for label in common if label in ids]
        winner = common[0]
        if len(able) == 2:
            x0, y0, x1, y1 = (int(side) for side in box(masks[index]))
            crop = cut(image, ssa_box((x0, y0, x1, y1), RANK_SCALE, image.shape[:2]))
            rows = reader.embed_images([pad_square(crop, reader.colour)])
            scores = similarities(rows, words.texts, words.owner, exclusive=reader.exclusive)[0]
            winner = max(able, key=lambda label: scores[ids[label]])
        named[inside] = winner
    return named


_loaded: dict[tuple[str, str, str | None], tuple[ImageText, Words, dict[int, int]]] = {}


def _words(
    vocabulary: str, model: str, checkpoint: str | None
) -> tuple[ImageText, Words, dict[int, int]]:
    """Load model and words once for all pictures; also the place of each id among the names."""
    key = (vocabulary, model, checkpoint)
    if key not in _loaded:
        reader = load_image_text(
            TextOptions(name=model, checkpoint=checkpoint), tuple(synset_names())
        )
        listed = read_vocabulary(vocabulary)
        words = ask_for(listed, reader)
        first = int(listed.background)
        ids = {
            first + number: words.names.index(name)
            for number, name in enumerate(listed.names)
            if name in words.names
        }
        _loaded[key] = reader, words, ids
    return _loaded[key]

"""What is published about the data sets of the field: counts, kinds of file, ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is published about a data set.

    Attributes:
        counts: pictures of each split; None where nothing is published.
        split: checked unless another is asked for.
        unlabelled: splits whose pictures have no ground truth.
        codecs: kinds of file in which ground truth ships.
        largest: highest id besides "ignore", or None for any.
        folders: number of class folders, or None without such.
    """

    counts: Mapping[str, int | None]
    split: str
    unlabelled: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ("index8",)
    largest: int | None = None
    folders: int | None = None


def _imagenet_s_facts(classes: int, train: int, validation: int, test: int) -> Facts:
    return Facts(
        counts={
            "validation": validation,
            "test": test,
            "train-semi": 10 * classes,
            "train": train,
        },
        split="validation",
        unlabelled=("test", "train"),
        codecs=("luss",),
        largest=classes,
        folders=classes,
    )


FACTS = {
    "imagenet-s-50": _imagenet_s_facts(50, 64431, 752, 1682),
    "imagenet-s-300": _imagenet_s_facts(300, 384862, 4097, 9088),
    "imagenet-s-919": _imagenet_s_facts(919, 1183322, 12419, 27423),
    "voc": Facts(
        counts={"val": 1449, "train": 1464, "trainaug": 10582, "trainval": 2913},
        split="val",
        codecs=("palette", "index8"),
        largest=20,
    ),
    "coco-stuff-27": Facts(
        counts={"val2017": 2175, "train2017": None}, split="val2017", largest=181
    ),
    "cityscapes": Facts(counts={"val": 500, "train": 2975, "test": 1525}, split="val", largest=33),
    "directory": Facts(
        counts={"val": None, "train": None},
        split="val",
        codecs=("index8", "index16", "palette", "luss"),
    ),
}

COCO_VALIDATION = 5000
"""Pictures of COCO's val2017, from which the curated list takes its 2175."""

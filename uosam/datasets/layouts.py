"""The public data sets of the field: recognised from a root folder, listed as samples.

A function per data set lists a split. A file without a partner is listed too, with None in its
partner's place, so that ``uosam data check`` can name it. Counts are those of the papers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from uosam.datasets.facts import FACTS
from uosam.errors import InputError, unknown
from uosam.io.images import IMAGE_SUFFIXES
from uosam.io.walk import list_files
from uosam.lookup import lookup
from uosam.structures import Sample

DATASETS = {
    "imagenet-s-50": "uosam.datasets.layouts:imagenet_s",
    "imagenet-s-300": "uosam.datasets.layouts:imagenet_s",
    "imagenet-s-919": "uosam.datasets.layouts:imagenet_s",
    "voc": "uosam.datasets.layouts:voc",
    "coco-stuff-27": "uosam.datasets.layouts:coco_stuff",
    "cityscapes": "uosam.datasets.layouts:cityscapes",
    "directory": "uosam.datasets.layouts:directory",
}
"""Name to the function that lists a split: ``(root, split) -> list[Sample]``."""


_CURATED = "Coco164kFull_Stuff_Coarse_7.txt"
"""The list of the published numbers, among the many beside it."""

_INNER = {
    "voc": ("", "VOC2012", "VOCdevkit/VOC2012", "pascalvoc/VOCdevkit/VOC2012", "VOCSegmentation"),
    "coco-stuff-27": ("", "cocostuff"),
    "cityscapes": ("", "cityscapes"),
    "imagenet-s": ("",),
    "directory": ("",),
}
"""Where the data set may lie below the folder that the user names."""

_MARKS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "voc": (("JPEGImages", "SegmentationClass"), ("images", "sets")),
    "coco-stuff-27": (("images/val2017", "annotations"), ("images/train2017", "annotations")),
    "cityscapes": (("leftImg8bit", "gtFine"), ("leftImg8bit", "annotations/gtFine")),
    "imagenet-s": (
        ("validation", "validation-segmentation"),
        ("train-semi", "train-semi-segmentation"),
    ),
    "directory": (("imgs", "labels"),),
}
"""Folders that tell a data set: any of these combinations."""


def recognise(root: Path) -> str:
    """Tell which data set lies in a folder, or just below it: a key of ``DATASETS``.

    The size of an ImageNet-S is taken from the folder's name, else from its number of classes.

    Raises:
        InputError: the folder is missing or holds none of them.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected the root folder of a data set, found none")
    for name in _MARKS:
        base = _find_base(root, name)
        if base is not None:
            return _imagenet_s_name(base) if name == "imagenet-s" else name
    found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    expected = "; ".join(" and ".join(marks[0]) for marks in _MARKS.values())
    raise InputError(
        f"{root}: not the root of a known data set, expected folders such as {expected}; "
        f"found {found}"
    )


def list_samples(name: str, root: Path, split: str) -> list[Sample]:
    """List a split of a data set, in order of name.

    Raises:
        ConfigError: the data set or the split is not known.
        InputError: the split is not there.
    """
    function = lookup("data set", name, DATASETS)
    if name in FACTS and split not in FACTS[name].counts:
        raise unknown(f"split of {name}", split, FACTS[name].counts)
    samples: list[Sample] = function(root, split)
    return sorted(samples, key=lambda sample: sample.name)


def imagenet_s(root: Path, split: str) -> list[Sample]:
    """List an ImageNet-S split of any size: ``SPLIT`` and, if labelled, ``SPLIT-segmentation``.

    Raises:
        InputError: the folder of the split is missing.
    """
    images = _stems(_folder(root / split), IMAGE_SUFFIXES)
    labelled = root / f"{split}-segmentation"
    targets = _stems(labelled, (".png",)) if labelled.is_dir() else {}
    return _join(images, targets)


def voc(root: Path, split: str) -> list[Sample]:
    """List a Pascal VOC 2012 split, in torchvision's layout or in MaskContrast's.

    "trainaug" takes the masks of ``SegmentationClassAug``, the others of ``SegmentationClass``.

    Raises:
        InputError: the list of the split or a folder is missing.
    """
    base = _base(root, "voc")
    repackaged = (base / "sets").is_dir()
    listed = base / ("sets" if repackaged else "ImageSets/Segmentation") / f"{split}.txt"
    masks = base / ("SegmentationClassAug" if split == "trainaug" else "SegmentationClass")
    images = _stems(_folder(base / ("images" if repackaged else "JPEGImages")), IMAGE_SUFFIXES)
    return _pick(_lines(listed), images, _stems(_folder(masks), (".png",)))


def coco_stuff(root: Path, split: str) -> list[Sample]:
    """List COCO-Stuff: the curated pictures if a list is there, else all of the split.

    Raises:
        InputError: a folder is missing, or several lists are there and none is the published one.
    """
    base = _base(root, "coco-stuff-27")
    images = _stems(_folder(base / "images" / split), IMAGE_SUFFIXES)
    targets = _stems(_folder(base / "annotations" / split), (".png",))
    listed = find_curated(root, split)
    return _join(images, targets) if listed is None else _pick(_lines(listed), images, targets)


def find_curated(root: Path, split: str) -> Path | None:
    """Return the list of curated pictures of a COCO-Stuff split, or None without one.

    Raises:
        InputError: several lists are there, and none is the published one by name or length.
    """
    lists = sorted((_base(root, "coco-stuff-27") / "curated" / split).glob("*.txt"))
    published = FACTS["coco-stuff-27"].counts.get(split)
    chosen = [path for path in lists if path.name == _CURATED] or [
        path for path in lists if len(lists) == 1 or len(_lines(path)) == published
    ]
    if lists and not chosen:
        raise InputError(
            f"{lists[0].parent}: expected {_CURATED} or a single list, got {len(lists)} others; "
            "remove those that are not meant"
        )
    return chosen[0] if chosen else None


def cityscapes(root: Path, split: str) -> list[Sample]:
    """List a Cityscapes split, with ``gtFine`` beside the pictures or below ``annotations``.

    Raises:
        InputError: a folder is missing.
    """
    base = _base(root, "cityscapes")
    truth = base / "gtFine" if (base / "gtFine").is_dir() else base / "annotations/gtFine"
    images = _stems(_folder(base / "leftImg8bit" / split), IMAGE_SUFFIXES, "_leftImg8bit")
    return _join(images, _stems(_folder(truth / split), (".png",), "_gtFine_labelIds"))


def directory(root: Path, split: str) -> list[Sample]:
    """List STEGO's "directory" layout: ``imgs/SPLIT`` and ``labels/SPLIT``.

    Files pair by name. If no name agrees they pair by sorted order, as STEGO does.

    Raises:
        InputError: a folder is missing.
    """
    images = _stems(_folder(root / "imgs" / split), IMAGE_SUFFIXES)
    targets = _stems(_folder(root / "labels" / split), (".png",))
    if images.keys() & targets.keys():
        return _join(images, targets)
    in_order = list(zip(images.items(), targets.values(), strict=False))
    samples = [Sample(name=name, image=path, target=target) for (name, path), target in in_order]
    rest = len(in_order)
    return samples + _join(dict([*images.items()][rest:]), dict([*targets.items()][rest:]))


def _find_base(root: Path, name: str) -> Path | None:
    for inner in _INNER[name]:
        base = root / inner
        if any(all((base / mark).is_dir() for mark in marks) for marks in _MARKS[name]):
            return base
    return None


def _base(root: Path, name: str) -> Path:
    base = _find_base(root, name)
    if base is None:
        marks = " or ".join(" and ".join(marks) for marks in _MARKS[name])
        raise InputError(f"{root}: expected the folders {marks} of {name}, found none of them")
    return base


def _imagenet_s_name(root: Path) -> str:
    for size in ("919", "300", "50"):
        if root.resolve().name.lower().replace("-", "").endswith(f"imagenets{size}"):
            return f"imagenet-s-{size}"
    masks = next(
        path for kind in ("validation", "train-semi")
        if (path := root / f"{kind}-segmentation").is_dir()
    )  # fmt: skip
    classes = sum(path.is_dir() for path in masks.iterdir())
    if f"imagenet-s-{classes}" not in DATASETS:
        raise InputError(
            f"{root}: an ImageNet-S must have 50, 300 or 919 class folders, got {classes}; "
            "say which it is meant to be with --dataset imagenet-s-50, -300 or -919"
        )
    return f"imagenet-s-{classes}"


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(f"{path}: this folder of the data set is missing; check root and split")
    return path


def _stems(folder: Path, suffixes: Iterable[str], ending: str = "") -> dict[str, Path]:
    """Map relative names without suffix and ending to the files that have both, in order."""
    names = {}
    unreadable: dict[str, str] = {}
    for file in list_files(folder, tuple(suffixes), unreadable):
        if file.stem.endswith(ending):
            names[file.with_suffix("").as_posix().removesuffix(ending)] = folder / file
    for path, reason in unreadable.items():
        raise InputError(f"{path}: {reason}; make it readable")
    return names


def _join(images: Mapping[str, Path], targets: Mapping[str, Path]) -> list[Sample]:
    return _pick([*images, *(name for name in targets if name not in images)], images, targets)


def _pick(
    names: Iterable[str], images: Mapping[str, Path], targets: Mapping[str, Path]
) -> list[Sample]:
    return [
        Sample(name=name, image=images.get(name), target=targets.get(name))
        for name in dict.fromkeys(names)
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected the list of the split, a name a line; it cannot be read"
        ) from error

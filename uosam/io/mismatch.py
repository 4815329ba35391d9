"""Why no mask belongs to a picture: what was found, one name of each side, the likely cause."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import PIL.Image

from uosam.errors import InputError
from uosam.io.images import IMAGE_SUFFIXES, UNREADABLE
from uosam.io.pairs import Pairs
from uosam.io.stored import MASK_SUFFIXES
from uosam.io.walk import list_files

_LOOKED_AT = 300
"""Names of each side that are compared."""


def require_pairs(pairs: Pairs, images: Path, masks: Path) -> None:
    """Refuse two folders of which no mask belongs to a picture.

    Args:
        pairs: what was found in them.
        images: folder of the pictures.
        masks: folder of the masks.

    Raises:
        InputError: one line: what each folder holds, one name of each side, and the likely cause.
    """
    if pairs.samples:
        return
    found = [_list(folder) for folder in (images, masks)]
    sides = [
        f"{folder} holds {_count(files)}{f', such as {files[0]}' if files else ''}"
        for folder, files in zip((images, masks), found, strict=True)
    ]
    raise InputError(
        f"no mask belongs to a picture: {'; '.join(sides)}: {_guess(images, masks, *found)}"
    )


def _list(folder: Path) -> list[PurePosixPath]:
    return list_files(folder, {*IMAGE_SUFFIXES, *MASK_SUFFIXES}, {})


def _count(files: Sequence[PurePosixPath]) -> str:
    """Count files by ending.

    >>> _count([PurePosixPath("a.png"), PurePosixPath("b.PNG"), PurePosixPath("c.jpg")])
    '2 .png and 1 .jpg'
    """
    if not files:
        return "no pictures and no masks"
    kinds = Counter(file.suffix.lower() for file in files).most_common()
    return " and ".join(f"{number} {suffix}" for suffix, number in kinds)


def _guess(
    images: Path, masks: Path, pictures: list[PurePosixPath], labels: list[PurePosixPath]
) -> str:
    """Say what is most likely wrong, and what to do."""
    manifest = "or list the pairs in a manifest (--manifest)"
    if pictures and images.resolve() == masks.resolve():
        return (
            "pictures and masks are the same folder, in which PNG and arrays are masks and no "
            "other picture was found; give the folder of the pictures first"
        )
    for folder, files in ((images, pictures), (masks, labels)):
        if not files:
            return f"is {folder} the right folder?"
    usable = [file for file in labels if file.suffix.lower() in MASK_SUFFIXES]
    if not usable or _is_photograph(masks / usable[0]):
        if _looks_like_a_mask(images / pictures[0]):
            return "the two folders look swapped; pictures come first"
        if not usable:
            return (
                "masks must be .png, .npy or .npz, since JPEG changes ids and others are not read; "
                "save them as PNG"
            )
    known = [file for file in pictures if file.suffix.lower() in IMAGE_SUFFIXES]
    if not known:
        return f"{images} holds arrays and no pictures; give the folder of the pictures first"
    return f"{_compare_names(known, usable)}; rename one side, {manifest}"


def _compare_names(pictures: Sequence[PurePosixPath], masks: Sequence[PurePosixPath]) -> str:
    """Find what the names of one side have and those of the other lack.

    >>> _compare_names([PurePosixPath("a.jpg")], [PurePosixPath("a_mask.png")])
    "masks end in '_mask' where pictures do not"
    >>> _compare_names([PurePosixPath("IMG_1.jpg")], [PurePosixPath("img_1.png")])
    'names differ in upper and lower case'

    Names that are the same on both sides explain nothing.

    >>> _compare_names([PurePosixPath("a.png")], [PurePosixPath("a.png")])
    'names must agree up to the suffix'
    """
    ours, theirs = [
        [file.with_suffix("").as_posix() for file in side[:_LOOKED_AT]]
        for side in (pictures, masks)
    ]
    alike = {*ours} & {*theirs}
    ours, theirs = [[name for name in side if name not in alike] for side in (ours, theirs)]
    if {name.lower() for name in ours} & {name.lower() for name in theirs}:
        return "names differ in upper and lower case"
    bases = [{os.path.basename(name).lower() for name in side} for side in (ours, theirs)]
    if bases[0] & bases[1]:
        return "names agree, but the sub-folders differ"
    for longer, shorter, one, other in (
        (bases[1], bases[0], "masks", "pictures"),
        (bases[0], bases[1], "pictures", "masks"),
    ):
        extra = Counter(
            ("end in", name[len(base) :])
            if name.startswith(base)
            else ("begin with", name[: -len(base)])
            for name in longer
            for base in shorter
            if base and name != base and (name.startswith(base) or name.endswith(base))
        )
        if extra:
            (where, part), _ = extra.most_common(1)[0]
            return f"{one} {where} {part!r} where {other} do not"
    return "names must agree up to the suffix"


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() not in (".npy", ".npz") and not _looks_like_a_mask(path)


def _looks_like_a_mask(path: Path) -> bool:
    """Tell whether a file has few values, as label maps have and photographs have not."""
    if path.suffix.lower() in (".npy", ".npz"):
        return True
    try:
        with PIL.Image.open(path) as picture:
            small = picture if picture.mode != "P" else picture.convert("RGB")
            # Nearest neighbour, which makes no new values.
            small = small.resize((64, 64), PIL.Image.Resampling.NEAREST)
            colours = small.getcolors(64 * 64)
            return colours is not None and len(colours) <= 64
    except (*UNREADABLE, PIL.Image.DecompressionBombError):
        return False

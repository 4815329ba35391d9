"""Which mask belongs to which picture: by relative path and stem, or as a manifest says."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from uosam.errors import InputError
from uosam.io.images import IMAGE_SUFFIXES
from uosam.io.listings.matching import Key, match
from uosam.io.listings.names import Listing, Names, list_paths, list_samples
from uosam.io.stored import MASK_SUFFIXES, OTHER_MASKS, explain_kind
from uosam.io.walk import walk_files
from uosam.structures import Sample
from uosam.text import without_suffix


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What was found in two folders.

    Attributes:
        samples: pictures with a mask, in order of name; the name is the mask's relative path
            without its last suffix.
        unpaired_images: pictures without a mask.
        unpaired_masks: masks without a picture.
        unreadable: sub-folders that could not be listed, and files beside the masks that belong to
            a picture and are of a kind that is not read, each with the reason.
    """

    samples: Sequence[Sample]
    unpaired_images: Sequence[Path] = ()
    unpaired_masks: Sequence[Path] = ()
    unreadable: dict[str, str] = field(default_factory=dict)


def find_pairs(images: Path, masks: Path, *, image_suffixes: Iterable[str] | None = None) -> Pairs:
    """Pair the pictures below one folder with the masks below another.

    A pair agrees, in this order, in relative path up to the last dot; in relative path up to the
    name's first dot (PASS cuts there); or, where one of the folders has no sub-folders, in the
    name alone, again up to the last and then the first dot. Unicode names agree in whatever form
    they are spelled. Hidden files are passed over, and so is
    a ``.npy`` beside a PNG of the same name (PASS's logit map). If both are the same folder, PNG
    and array files are masks and the rest pictures. Two files are paired directly.

    Args:
        images: folder (or file) of the pictures.
        masks: folder (or file) of the masks.
        image_suffixes: endings to take in the first folder in place of those of pictures, to pair
            masks with masks.

    Raises:
        InputError: a folder is missing or cannot be listed, or two files claim the same partner.
    """
    if images.is_file() and masks.is_file():
        sample = Sample(name=masks.stem, image=images, coarse=masks)
        return Pairs(samples=[sample])
    unreadable: dict[str, str] = {}
    mask_files = Names(_without_logit_maps(walk_files(masks, MASK_SUFFIXES, unreadable)))
    same = images.resolve() == masks.resolve()
    if image_suffixes is None:
        image_suffixes = set(IMAGE_SUFFIXES) - set(MASK_SUFFIXES) if same else IMAGE_SUFFIXES
    image_files = Names(walk_files(images, image_suffixes, unreadable))
    keys: list[Key] = [without_suffix, _path_first_dot]
    if any(all("/" not in file for file in files) for files in (image_files, mask_files)):
        keys += [_name_last_dot, _name_first_dot]
    pairs, *left = match((images, masks), (image_files, mask_files), keys)
    images_left, masks_left = (array("Q", places) for places in left)
    if len(images_left) and not same:
        others = list(walk_files(masks, OTHER_MASKS, {}))
        unread = _find_unread([image_files[index] for index in images_left], others, keys)
        images_left = array("Q", (i for i in images_left if image_files[i] not in unread))
        for other in unread.values():
            unreadable[str(masks / other)] = explain_kind(PurePosixPath(other).suffix.lower())
    return Pairs(
        samples=list_samples((images, masks), image_files, mask_files, pairs),
        unpaired_images=list_paths(images, image_files, images_left),
        unpaired_masks=list_paths(masks, mask_files, masks_left),
        unreadable=unreadable,
    )


def _find_unread(
    images: Sequence[str], others: Sequence[str], keys: Sequence[Key]
) -> dict[str, str]:
    """Find, for pictures without a mask, the file that looks like one and is not read."""
    found: dict[str, str] = {}
    for key in keys if others else ():
        named: dict[str, str] = {}
        for other in others:
            named.setdefault(unicodedata.normalize("NFC", key(other)), other)
        for image in images:
            name = unicodedata.normalize("NFC", key(image))
            if image not in found and name in named:
                found[image] = named[name]
    return found


def find_pictures(images: Path) -> tuple[Sequence[Sample], dict[str, str]]:
    """List the pictures below a folder, in order of name, and sub-folders that cannot be listed.

    Raises:
        InputError: the folder is missing or without pictures, or two pictures share a name.
    """
    unreadable: dict[str, str] = {}
    files = Names(walk_files(images, IMAGE_SUFFIXES, unreadable))
    last: str | None = None
    for file in files:
        if last is not None and without_suffix(last) == without_suffix(file):
            raise InputError(
                f"{images / last} and {images / file} would both be written as "
                f"{without_suffix(file)}; rename one"
            )
        last = file
    if not files and not unreadable:
        raise InputError(f"{images}: no pictures found ({', '.join(IMAGE_SUFFIXES)})")

    def make(index: int) -> Sample:
        return Sample(name=without_suffix(files[index]), image=images / files[index])

    return Listing(len(files), make), unreadable


def _without_logit_maps(files: Iterable[str]) -> Iterator[str]:
    """Drop arrays beside a PNG of the same name; names that agree follow one another."""
    for _, group in groupby(files, key=without_suffix):
        names = list(group)
        has_png = any(name.lower().endswith(".png") for name in names)
        yield from (n for n in names if not (has_png and n.lower().endswith(".npy")))


def _path_first_dot(file: str) -> str:
    """Cut the name at its first dot.

    >>> _path_first_dot("n01/a.b.png")
    'n01/a'
    """
    folder, slash, name = file.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _name_last_dot(file: str) -> str:
    return without_suffix(file).rpartition("/")[2]


def _name_first_dot(file: str) -> str:
    return file.rpartition("/")[2].partition(".")[0]

"""Which mask belongs to which picture: by relative path and stem, or as a manifest says."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from uosam.errors import InputError
from uosam.io.images import IMAGE_SUFFIXES
from uosam.io.stored import MASK_SUFFIXES, OTHER_MASKS, explain_kind
from uosam.io.walk import list_files
from uosam.structures import Sample


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

    samples: list[Sample]
    unpaired_images: list[Path] = field(default_factory=list)
    unpaired_masks: list[Path] = field(default_factory=list)
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
    mask_files = _without_logit_maps(list_files(masks, MASK_SUFFIXES, unreadable))
    if image_suffixes is None:
        same = images.resolve() == masks.resolve()
        image_suffixes = set(IMAGE_SUFFIXES) - set(MASK_SUFFIXES) if same else IMAGE_SUFFIXES
    image_files = list_files(images, image_suffixes, unreadable)
    others = []
    if images.resolve() != masks.resolve():
        others = list_files(masks, OTHER_MASKS, {})

    keys: list[Callable[[PurePosixPath], str]] = [_path_last_dot, _path_first_dot]
    if _is_flat(image_files) or _is_flat(mask_files):
        keys += [_name_last_dot, _name_first_dot]
    found: dict[PurePosixPath, PurePosixPath] = {}
    images_left, masks_left = image_files, mask_files
    for key in keys:
        found |= _match(images_left, masks_left, key, images, masks)
        used = set(found.values())
        images_left = [file for file in images_left if file not in used]
        masks_left = [file for file in masks_left if file not in found]
        if not images_left or not masks_left:
            break
    unread = _find_unread(images_left, others, keys)
    images_left = [file for file in images_left if file not in unread]
    for other in unread.values():
        unreadable[str(masks / other)] = explain_kind(other.suffix.lower())
    samples = [
        Sample(name=_path_last_dot(mask), image=images / image, coarse=masks / mask)
        for mask, image in found.items()
    ]
    return Pairs(
        samples=sorted(samples, key=lambda sample: sample.name),
        unpaired_images=[images / file for file in images_left],
        unpaired_masks=[masks / file for file in masks_left],
        unreadable=unreadable,
    )


def _find_unread(
    images: list[PurePosixPath],
    others: list[PurePosixPath],
    keys: list[Callable[[PurePosixPath], str]],
) -> dict[PurePosixPath, PurePosixPath]:
    """Find, for pictures without a mask, the file that looks like one and is not read."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    for key in keys:
        named = _group(others, key)
        for image in images:
            name = unicodedata.normalize("NFC", key(image))
            if image not in found and name in named:
                found[image] = named[name][0]
    return found


def find_pictures(images: Path) -> tuple[list[Sample], dict[str, str]]:
    """List the pictures below a folder, in order of name, and sub-folders that cannot be listed.

    Raises:
        InputError: the folder is missing or without pictures, or two pictures share a name.
    """
    unreadable: dict[str, str] = {}
    found: dict[str, Path] = {}
    for file in list_files(images, IMAGE_SUFFIXES, unreadable):
        name, path = _path_last_dot(file), images / file
        if name in found:
            raise InputError(
                f"{found[name]} and {path} would both be written as {name}; rename one"
            )
        found[name] = path
    if not found and not unreadable:
        raise InputError(f"{images}: no pictures found ({', '.join(IMAGE_SUFFIXES)})")
    return [Sample(name=name, image=found[name]) for name in sorted(found)], unreadable


def read_manifest(path: Path) -> Pairs:
    """Read pairs from a CSV or Parquet table with columns image, mask and maybe name, target.

    Relative paths are relative to the table's folder. Without a name the mask's path below the
    folder that all masks share is taken, without suffix.

    Raises:
        InputError: the table cannot be read, lacks a column or a cell, or names are not unique
            relative paths.
    """
    rows = _read_table(path)
    folder = path.resolve().parent
    masks = [folder / row["mask"] for row in rows]
    shared = Path(os.path.commonpath([mask.parent for mask in masks])) if masks else folder
    samples: dict[str, Sample] = {}
    for line, (row, mask) in enumerate(zip(rows, masks, strict=True), start=1):
        relative = PurePosixPath(mask.relative_to(shared).as_posix())
        name = row.get("name") or _path_last_dot(relative)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(
                f"{path}: row {line}: name must be a relative path without '..', got {name!r}"
            )
        if name in samples:
            raise InputError(
                f"{path}: row {line}: name {name!r} comes twice; names decide where outputs go, "
                "give each row its own in a column 'name'"
            )
        target = folder / row["target"] if row.get("target") else None
        samples[name] = Sample(name=name, image=folder / row["image"], coarse=mask, target=target)
    return Pairs(samples=[samples[name] for name in sorted(samples)])


def _read_table(path: Path) -> list[dict[str, str]]:
    import pandas as pd  # here, so that pairing folders does not pay for it

    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            # As text: a name such as 007 is not a number.
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except Exception as error:  # of two readers, each with errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a CSV or Parquet table, got {reason}") from error
    for column in ("image", "mask"):
        if column not in table.columns:
            raise InputError(
                f"{path}: a manifest needs the columns image and mask, "
                f"got {', '.join(map(str, table.columns)) or 'none'}"
            )
    columns = [name for name in ("image", "mask", "name", "target") if name in table.columns]
    table = table[columns].astype(object).where(table[columns].notna(), "")
    rows = [{str(k): str(v) for k, v in row.items()} for row in table.to_dict("records")]
    for line, row in enumerate(rows, start=1):
        if not row["image"] or not row["mask"]:
            raise InputError(f"{path}: row {line} must give both image and mask, got {row}")
        if any("\0" in cell for cell in row.values()):
            raise InputError(f"{path}: row {line}: no file has a name with a NUL in it, got {row}")
    return rows


def _without_logit_maps(files: list[PurePosixPath]) -> list[PurePosixPath]:
    pngs = {_path_last_dot(file) for file in files if file.suffix.lower() == ".png"}
    return [
        file for file in files if file.suffix.lower() != ".npy" or _path_last_dot(file) not in pngs
    ]


def _match(
    images: list[PurePosixPath],
    masks: list[PurePosixPath],
    key: Callable[[PurePosixPath], str],
    image_root: Path,
    mask_root: Path,
) -> dict[PurePosixPath, PurePosixPath]:
    """Pair files whose key is equal; refuse a key that two files share, if it has a partner."""
    images_by_key, masks_by_key = _group(images, key), _group(masks, key)
    found = {}
    for name in images_by_key.keys() & masks_by_key.keys():
        for root, group in ((image_root, images_by_key[name]), (mask_root, masks_by_key[name])):
            if len(group) > 1:
                raise InputError(
                    f"{root / group[0]} and {root / group[1]} both answer to {name!r}; rename or "
                    "remove one, or list the pairs in a manifest (--manifest)"
                )
        found[masks_by_key[name][0]] = images_by_key[name][0]
    return found


def _group(
    files: list[PurePosixPath], key: Callable[[PurePosixPath], str]
) -> dict[str, list[PurePosixPath]]:
    groups = defaultdict(list)
    for file in files:
        # One name has several spellings: Linux composes letters, macOS takes them apart.
        groups[unicodedata.normalize("NFC", key(file))].append(file)
    return groups


def _is_flat(files: list[PurePosixPath]) -> bool:
    return all(len(file.parts) == 1 for file in files)


def _path_last_dot(file: PurePosixPath) -> str:
    """Cut the last suffix.

    >>> _path_last_dot(PurePosixPath("n01/a.b.png"))
    'n01/a.b'
    """
    return (file.parent / file.stem).as_posix()


def _path_first_dot(file: PurePosixPath) -> str:
    """Cut the name at its first dot.

    >>> _path_first_dot(PurePosixPath("n01/a.b.png"))
    'n01/a'
    """
    return (file.parent / _name_first_dot(file)).as_posix()


def _name_last_dot(file: PurePosixPath) -> str:
    return file.stem


def _name_first_dot(file: PurePosixPath) -> str:
    return file.name.partition(".")[0]

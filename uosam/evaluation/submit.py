"""Pack predictions for the ImageNet-S test servers, after checking everything a server would.

The archive holds the synset folders with their masks, ``match.json`` and ``method.txt`` at its
root (ImageNet-S repository, "Submit"). A server scores nothing of an archive that is not complete.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from uosam.errors import InputError, UosamError, unknown
from uosam.io.atomic import replacing
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.outputs import check_outputs
from uosam.io.pairs import find_pairs
from uosam.io.walk import list_files
from uosam.metrics.matching import check_match
from uosam.text import one_line

TEST_IMAGES = {"50": 1682, "300": 9088, "919": 27423}
"""Split, by its number of classes, to the number of its test images."""

_SYNSET = re.compile(r"n\d{8}")
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Method:
    """The lines of ``method.txt``.

    Attributes:
        name: of the method.
        data: training data.
        scheme: training scheme, such as SSL, Sup or SSL+Sup.
        networks: architectures used, a promptable segmenter included.
        link: of the paper or project.
        description: one line.
    """

    name: str
    data: str
    scheme: str
    networks: str
    link: str
    description: str

    def text(self) -> str:
        """Return the file's text."""
        titles = (
            "Method name",
            "Training data",
            "Training scheme",
            "Networks",
            "Paper/Project link",
            "Method description",
        )
        values = (getattr(self, entry.name) for entry in fields(self))
        return "".join(f"{title}: {value}\n" for title, value in zip(titles, values, strict=True))


def submit(
    pred: Path,
    output: Path,
    *,
    split: str,
    method: Method,
    match: Mapping[int, int] | None = None,
    images: Path | None = None,
    count: int | None = None,
) -> int:
    """Check predictions of the test images and write the archive; the same input, the same bytes.

    Args:
        pred: folder of synset folders of masks.
        output: archive to write.
        split: key of ``TEST_IMAGES``.
        method: what the server shows.
        match: predicted id to class id, found on the validation images; None if ids are classes.
        images: folder of the test images, to check names and sizes too.
        count: number of test images, if not the published one.

    Returns:
        Number of masks.

    Raises:
        ConfigError: the split is not known.
        InputError: something would not pass, a line for each fault; or the archive cannot be
            written. Nothing half-written is left.
    """
    if split not in TEST_IMAGES:
        raise unknown("split", split, TEST_IMAGES)
    if output.resolve().is_relative_to(pred.resolve()):
        raise InputError(f"the archive {output} must not lie in {pred}; give a place beside it")
    if not pred.is_dir():
        raise InputError(f"{pred}: expected a folder of synset folders with masks")
    classes = int(split) + 1
    faults = _method_faults(method)
    if match is not None:
        try:
            check_match(match, classes, background=0)
        except InputError as error:
            faults.append(str(error))
    # PASS leaves its logit maps (.npy) beside the masks; only masks are sent.
    unreadable: dict[str, str] = {}
    masks = [pred / file for file in list_files(pred, [".png"], unreadable)]
    faults += [f"{path}: {why}" for path, why in unreadable.items()]
    expected = TEST_IMAGES[split] if count is None else count
    if len(masks) != expected:
        faults.append(
            f"{pred}: expected {expected} masks, one for each test image of ImageNet-S-{split}, "
            f"got {len(masks)}"
        )
    sizes = _sizes(pred, images, faults)
    allowed = None if match is None else {0, *match}
    for path in masks:
        faults += _mask_faults(path, pred, classes, allowed, sizes.get(path))
    if faults:
        raise InputError(f"{len(faults)} fault(s), nothing was written:\n" + "\n".join(faults))
    check_outputs([(output, "the archive")], [*masks, *sizes.values()])
    entries = {path.relative_to(pred).as_posix(): path for path in masks}
    texts = {"method.txt": method.text()}
    if match is not None:
        texts["match.json"] = json.dumps(
            {str(k): v for k, v in sorted(({0: 0} | dict(match)).items())}
        )
    _write_zip(output, entries, texts)
    return len(masks)


def _method_faults(method: Method) -> list[str]:
    faults = []
    for entry in fields(method):
        value = getattr(method, entry.name)
        if not value.strip() or one_line(value) != value:
            faults.append(f"method.txt: {entry.name} must be one line of text, got {value!r}")
    return faults


def _sizes(pred: Path, images: Path | None, faults: list[str]) -> dict[Path, Path]:
    """Pair masks with test images; adds a fault for each that has no partner."""
    if images is None:
        return {}
    pairs = find_pairs(images, pred)
    faults += [f"{path}: {why}" for path, why in pairs.unreadable.items()]
    faults += [f"{path}: no mask in {pred}" for path in pairs.unpaired_images]
    faults += [f"{path}: no image in {images}" for path in pairs.unpaired_masks]
    return {s.coarse: s.image for s in pairs.samples if s.coarse and s.image}


def _mask_faults(
    path: Path, root: Path, classes: int, allowed: set[int] | None, image: Path | None
) -> list[str]:
    faults = []
    parts = path.relative_to(root).parts
    try:
        "/".join(parts).encode()
    except UnicodeEncodeError:
        return [f"{path}: names in an archive must be UTF-8, rename this file"]
    if len(parts) != 2 or not _SYNSET.fullmatch(parts[0]):
        faults.append(f"{path}: masks must lie in folders such as n01443537, got {'/'.join(parts)}")
    try:
        labels = read_labels(path, "luss", ignore=None).labels
        if image is not None:
            size = read_image(image).shape[:2]
            if size != labels.shape:
                faults.append(f"{path}: expected the size {size} of {image}, got {labels.shape}")
    except UosamError as error:
        return [*faults, str(error)]
    ids = np.unique(labels)
    strange = ids[ids >= classes].tolist()
    if strange:
        faults.append(f"{path}: ids must be 0 to {classes - 1}, got {strange[:5]}")
    elif allowed is not None and not set(ids.tolist()) <= allowed:
        faults.append(f"{path}: match.json lacks the ids {sorted(set(ids.tolist()) - allowed)}")
    return faults


def _write_zip(output: Path, files: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    try:
        with replacing(output) as file, zipfile.ZipFile(file, "w") as archive:
            for name, path in files.items():
                # PNG is compressed already.
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes())
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), text)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from error

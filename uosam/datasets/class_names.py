"""Names of the classes of the public data sets, and of a list that a user gives.

``class_names.json`` holds the classes of VOC, COCO-Stuff-27 and Cityscapes by id, and the first
lemma in WordNet (Miller, 1995) of each of the 1000 synsets of ILSVRC 2012.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from uosam.errors import InputError
from uosam.metrics.protocols import Protocol

_SYNSET = re.compile(r"(n\d{8})\b[\s:;,]*(.*)")


@dataclass(frozen=True, kw_only=True)
class ClassName:
    """What a class is called.

    Attributes:
        name: for people; not unique in ImageNet, where two synsets are called crane.
        synset: key in WordNet such as n01443537, "" where there is none.
    """

    name: str = ""
    synset: str = ""


def find_class_names(protocol: Protocol, target: Path | None) -> dict[int, ClassName]:
    """Return the class names that are known without being given.

    Those of LUSS come from the ground truth: ids count the sorted synsets, and a whole split has a
    folder for each of them. A part of a split with fewer folders does not tell.

    Args:
        protocol: of the evaluation.
        target: folder of the ground truth, or None.

    Returns:
        Class id to name; empty if none are known.
    """
    if protocol.cluster_rows:
        return {}
    if protocol.luss:
        if target is None or not target.is_dir():
            return {}
        synsets = sorted(p.name for p in target.iterdir() if _SYNSET.fullmatch(p.name))
        return _by_synset(synsets) if len(synsets) + 1 == protocol.classes else {}
    return {id_: ClassName(name=n) for id_, n in enumerate(_stored().get(protocol.stored, []))}


def read_class_names(path: Path, protocol: Protocol) -> dict[int, ClassName]:
    """Read class names, one line for each id from 1 on, or from 0 where there is no background.

    Lines may begin with a synset (``n01443537 goldfish``) or hold nothing else, as ImageNet-S's
    category files do; those of a LUSS protocol are put in the order of synsets, which is that of
    ids, since early copies of the files are in another.

    Raises:
        InputError: the file cannot be read as text, or does not have a line for each class.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file of class names, got {error}") from error
    while lines and not lines[-1]:
        lines.pop()
    first = int(protocol.background == 0)
    if protocol.classes is not None and len(lines) != protocol.classes - first:
        raise InputError(
            f"{path}: expected {protocol.classes - first} lines, one for each id from {first} to "
            f"{protocol.classes - 1}, got {len(lines)}; give the list of this very split"
        )
    if protocol.luss and all(map(_SYNSET.match, lines)):
        return _by_synset(sorted(lines))
    background = {0: ClassName(name="background")} if first else {}
    return background | dict(enumerate(map(_parse, lines), start=first))


def _by_synset(lines: Sequence[str]) -> dict[int, ClassName]:
    background = {0: ClassName(name="background")}
    return background | dict(enumerate(map(_parse, lines), start=1))


def _parse(line: str) -> ClassName:
    """Split a line into synset and name.

    >>> _parse("n02119022")
    ClassName(name='red fox', synset='n02119022')
    """
    found = _SYNSET.fullmatch(line)
    if not found:
        return ClassName(name=line)
    synset, name = found.groups()
    return ClassName(name=name or synset_names().get(synset, ""), synset=synset)


@cache
def _stored() -> dict[str, Any]:
    text = Path(__file__).with_name("class_names.json").read_text("utf-8")
    stored: dict[str, Any] = json.loads(text)
    return stored


def synset_names() -> Mapping[str, str]:
    """Return the 1000 synsets of ILSVRC 2012 in order, and their first lemmas."""
    names: Mapping[str, str] = _stored()["synsets"]
    return names

"""A page that shows a cloud or mesh in three dimensions: one file, no network, any browser.

The GLB is drawn by three.js (github.com/mrdoob/three.js, MIT), a part of whose package on npm lies
beside this file; ``three.txt`` tells how it was cut out, and its licence.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uosam.geometry.cloud import Ids, PointCloud
from uosam.geometry.export import GREY, Triangles, encode_glb, y_up
from uosam.report.overlay import colour
from uosam.structures import IGNORE

_HERE = Path(__file__).parent
_MOST = 65535  # ids of a colouring travel as 16 bits


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """Where the page looks from at first.

    Attributes:
        eye: (3,) place of the viewer, in the coordinates of the cloud; None looks down at all of
            it from a corner.
        size: metres that a point measures across.
    """

    eye: tuple[float, float, float] | None = None
    size: float = 0.02


def id_table(ids: Ids) -> dict[int, tuple[int, int, int]]:
    """Return the colour of every id present, as in all drawings; unknown is left out.

    >>> list(id_table(np.array([3, -1, 3], np.int32)))
    [3]
    """
    present = np.unique(ids[ids != IGNORE]).tolist()
    return {i: (r, g, b) for i in present for r, g, b in [colour(i).tolist()]}


def encode_page(
    cloud: PointCloud,
    title: str,
    *,
    names: Mapping[int, str] | None = None,
    note: str = "",
    view: View | None = None,
    faces: Triangles | None = None,
    start: str = "photo",
) -> bytes:
    """Return the HTML of a page with the cloud in it, coloured by photo, label and group.

    Args:
        cloud: with points. Colourings by label and group are offered where there are any.
        title: of the page.
        names: id to class name, for the legend.
        note: a sentence below the title, such as what was assumed.
        view: where to look from.
        faces: (F, 3) of ``triangulate``, for a mesh in place of points.
        start: which colouring is shown first, if it is there.

    Raises:
        ConfigError: trimesh is not installed.
        InputError: the cloud has no points.
    """
    view = view or View()
    places = y_up(cloud)
    low, high = np.percentile(places, [2, 98], axis=0) if len(cloud) else (0, 0)
    reach = max(float(np.linalg.norm(high - low)), 1e-3) if len(cloud) else 1.0
    target = (np.asarray(low) + high) / 2
    if view.eye is None:
        eye = target + reach * np.array([0.55, 0.6, 0.75])
    else:
        eye = y_up(_place(view.eye, cloud.z_up))[0].astype(float)
        # As far off as what is seen, along the line of sight, so that turning turns about it.
        forward = target - eye
        eye = eye - 0.1 * forward
    data = {
        "three": base64.b64encode((_HERE / "three.min.js.gz").read_bytes()).decode(),
        "glb": _packed(encode_glb(cloud, faces=faces)),
        "points": len(cloud),
        "size": view.size,
        "reach": reach,
        "eye": np.asarray(eye).round(4).tolist(),
        "target": np.asarray(target, float).round(4).tolist(),
        "start": start,
        "modes": _modes(cloud, names or {}),
    }
    page = (_HERE / "scene.html").read_text(encoding="utf-8")
    # "</" would end the script element; in JSON both spellings mean the same.
    values = {
        "@TITLE@": html.escape(title),
        "@NOTE@": html.escape(note),
        "@DATA@": json.dumps(data).replace("</", "<\\/"),
    }
    for key, value in values.items():
        page = page.replace(key, value)
    return page.encode()


def _modes(cloud: PointCloud, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """List the colourings that the page offers."""
    modes: list[dict[str, Any]] = [{"name": "photo"}]
    if (cloud.label != IGNORE).any():
        modes.append({"name": "label", **_colouring(cloud.label, "not labelled", names)})
    if (cloud.group != IGNORE).any():
        groups = group_names(cloud, names)
        modes.append({"name": "group", **_colouring(cloud.group, "no group", groups)})
    return modes


def group_names(cloud: PointCloud, names: Mapping[int, str]) -> dict[int, str]:
    """Call every group by the label that most of its points have, and number those of one label.

    Args:
        cloud: with labels and groups.
        names: id to class name; a label without one is called by its id.

    Returns:
        Group to text; groups without any labelled point are left out.

    >>> nothing = np.zeros((4, 3))
    >>> cloud = PointCloud(coord=nothing, colour=nothing.astype(np.uint8),
    ...                    label=np.array([7, 7, 7, -1]), group=np.array([0, 0, 1, 2]))
    >>> group_names(cloud, {7: "chair"})
    {0: 'chair, part 1', 1: 'chair, part 2'}
    """
    labels: dict[int, int] = {}
    for group in np.unique(cloud.group[cloud.group != IGNORE]).tolist():
        inside = cloud.label[(cloud.group == group) & (cloud.label != IGNORE)]
        if len(inside):
            labels[group] = int(np.bincount(inside).argmax())
    counts, number = Counter(labels.values()), Counter[int]()
    found = {}
    for group, label in labels.items():
        number[label] += 1
        name = names.get(label, str(label))
        found[group] = f"{name}, part {number[label]}" if counts[label] > 1 else name
    return found


def _colouring(ids: Ids, none: str, names: Mapping[int, str]) -> dict[str, Any]:
    present, index, counts = np.unique(ids, return_inverse=True, return_counts=True)
    index = np.minimum(index, _MOST)
    table = id_table(present)
    entries = [
        {
            "name": none if i == IGNORE else names.get(i, str(i)),
            "colour": "#{:02x}{:02x}{:02x}".format(*table.get(i, GREY)),
            "points": count,
        }
        for i, count in zip(present.tolist(), counts.tolist(), strict=True)
    ]
    return {"ids": _packed(index.astype("<u2").tobytes()), "entries": entries}


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _place(place: Sequence[float], z_up: bool) -> PointCloud:
    """Return a cloud of one point, to turn it as all others."""
    nothing = np.full(1, IGNORE, np.int32)
    return PointCloud(
        coord=np.array([place], np.float64),
        colour=np.zeros((1, 3), np.uint8),
        label=nothing,
        group=nothing,
        z_up=z_up,
    )

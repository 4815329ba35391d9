"""The evaluation protocols of the published tables, each as one row of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from uosam.errors import unknown
from uosam.metrics.geometry import Geometry
from uosam.metrics.matching import Solver
from uosam.metrics.scores import Absent
from uosam.structures import IGNORE, LabelMap

Matching = Literal["none", "presence", "presence-anywhere", "pixels", "iou"]
"""How clusters are given classes.

none: ids are classes already. presence: by the number of images that have both in scored pixels, as
the LUSS evaluators count. presence-anywhere: the prediction may be in ignored pixels, as for the
match.json that PASS's inference writes. pixels: by shared pixels. iou: by summed IoU, and if there
are more clusters than classes each cluster goes to the class of largest IoU (many-to-one).
"""

Stored = Literal["ids", "voc", "coco-fine", "cityscapes"]
"""What ground-truth files hold. ids: classes. voc: ids above 20 are ignored. coco-fine: the 182
COCO-Stuff ids, 255 unlabelled. cityscapes: labelIds, of which 7 to 33 are classes 0 to 26."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one family of published numbers is computed.

    Attributes:
        title: what it is, for listings.
        classes: number of ids, background included; None takes them from the files.
        background: id of the background, or None where every id is a class.
        stored: how ground-truth ids are stored.
        geometry: what part of the image is scored at which size.
        matching: how clusters are given classes.
        solver: which optimum a matching takes.
        absent: what a class without pixels on either side counts.
        out_of_range: a predicted id that is no class is an "error", or its pixels are "dropped".
        boundary_ratio: depth of class boundaries, as a part of the image diagonal.
        precision: whether the mean precision of classes belongs to it.
        luss: whether image accuracy, F-beta and object sizes belong to it.
        cluster_rows: whether per-class rows stand at the cluster's index (PiCIE), not the class's.
        groups: named sets of rows whose mean IoU is reported.
        images: sizes of the published splits.
        caveat: what a reader of the number must know.
        binary: folders whose masks hold 0 and 255 (or 65535) alone, of which the latter is the
            object of id 1; found when files are read.
        colours: table by which RGB masks are read, or None.
    """

    title: str
    classes: int | None = None
    background: int | None = 0
    stored: Stored = "ids"
    geometry: Geometry = "native"
    matching: Matching = "none"
    solver: Solver = "scipy"
    absent: Absent = "skip"
    out_of_range: Literal["error", "dropped"] = "error"
    boundary_ratio: float = 0.02
    precision: bool = False
    luss: bool = False
    cluster_rows: bool = False
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    images: tuple[int, ...] = ()
    caveat: str = ""
    binary: tuple[str, ...] = ()
    colours: str | None = None


def _luss(classes: int, images: tuple[int, int]) -> Protocol:
    return Protocol(
        title=f"ImageNet-S-{classes}, large-scale unsupervised semantic segmentation",
        classes=classes + 1,
        matching="presence",
        solver="munkres-3",
        absent="zero",
        boundary_ratio=0.03,
        luss=True,
        images=images,
    )


def _coco(variant: str, *, cluster_rows: bool = False, caveat: str = "") -> Protocol:
    return Protocol(
        title=f"COCO-Stuff, 27 classes, as in {variant}",
        classes=27,
        background=None,
        stored="coco-fine",
        geometry="centre-320",
        matching="pixels",
        out_of_range="dropped",
        precision=not cluster_rows,
        cluster_rows=cluster_rows,
        groups={"thing": (0, 12), "stuff": (12, 27)},
        images=(2175,),
        caveat=caveat,
    )


PROTOCOLS = {
    "plain": Protocol(title="any folder; ids are classes already, absent classes are left out"),
    "luss-50": _luss(50, (752, 1682)),
    "luss-300": _luss(300, (4097, 9088)),
    "luss-919": _luss(919, (12419, 27423)),
    "voc-standard": Protocol(
        title="Pascal VOC 2012 at full size, ids are classes already",
        classes=21,
        stored="voc",
        images=(1449,),
    ),
    "voc-cause": Protocol(
        title="Pascal VOC 2012 as in CAUSE: squashed to 320 x 320, 21 clusters by pixels",
        classes=21,
        stored="voc",
        geometry="squash-320",
        matching="pixels",
        out_of_range="dropped",
        precision=True,
        images=(1449,),
    ),
    "voc-maskcontrast": Protocol(
        title="Pascal VOC 2012 as in MaskContrast: at full size, clusters by IoU",
        classes=21,
        stored="voc",
        geometry="to-target",
        matching="iou",
        absent="zero",
        images=(1449,),
        caveat="published values are means of five k-means seeds",
    ),
    "coco-stuff-27": _coco("STEGO, HP, SmooSeg and CAUSE"),
    "coco-stuff-27-picie": _coco(
        "PiCIE and TransFGU",
        cluster_rows=True,
        caveat="rows and the thing / stuff means follow cluster indices, as in the published code; "
        "only the overall figures mean what their names say",
    ),
    "cityscapes-27": Protocol(
        title="Cityscapes, 27 classes, as in STEGO, HP, SmooSeg and CAUSE",
        classes=27,
        background=None,
        stored="cityscapes",
        geometry="centre-320",
        matching="pixels",
        out_of_range="dropped",
        precision=True,
        images=(500, 3475),
        caveat="PiCIE scored val and train (3475 images), the others val (500)",
    ),
}


def find_protocol(name: str) -> Protocol:
    """Return the protocol of this name.

    Raises:
        ConfigError: there is none.

    >>> find_protocol("luss-50").classes
    51
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


_COCO_COARSE = {
    0: range(71, 77),
    1: range(77, 83),
    2: range(51, 61),
    3: range(61, 71),
    4: range(83, 91),
    5: range(43, 51),
    6: range(25, 33),
    7: range(15, 25),
    8: range(9, 15),
    9: range(1),
    10: range(33, 43),
    11: range(1, 9),
    12: (101, 102),
    13: (100, *range(113, 118)),
    14: (120, 121, 152, 169),
    15: (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    16: (99, 131, 138, 142),
    17: (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    18: range(170, 177),
    19: (179, 180),
    20: (94, 95, 127, 150, 157, 165),
    21: (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    22: (93, 96, 118, 123, 128, 133, 141, 162, 168),
    23: (105, 156),
    24: (126, 134, 149, 159, 161, 181),
    25: (98, 112, 137, 145, 163),
    26: (119, 147, 154, 177, 178),
}
"""Coarse class to the fine ids of the COCO-Stuff PNGs that it joins (Ji et al., IIC, ICCV 2019)."""


def decode_target(stored: LabelMap, kind: Stored) -> LabelMap:
    """Turn stored ground-truth ids into the classes of a protocol.

    Args:
        stored: (H, W) ids as the codec read them.
        kind: what they mean.

    Returns:
        (H, W) class ids, IGNORE for ids that are none.

    >>> decode_target(np.array([[7, 33, 3]], np.int32), "cityscapes").tolist()
    [[0, 26, -1]]
    """
    if kind == "ids":
        return stored
    if kind == "voc":
        return np.where(stored > 20, IGNORE, stored).astype(np.int32)
    if kind == "cityscapes":
        return np.where((stored >= 7) & (stored <= 33), stored - 7, IGNORE).astype(np.int32)
    table = np.full(257, IGNORE, np.int32)
    for coarse, fine in _COCO_COARSE.items():
        table[list(fine)] = coarse
    return table[np.where((stored >= 0) & (stored < 256), stored, 256)]

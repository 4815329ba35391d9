"""The models by name, and the facts of their weights files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "UOSAM_CACHE"
"""Environment variable that replaces the user cache directory."""

_META = "https://dl.fbaipublicfiles.com/segment_anything"
_SAM = "uosam.backends.sam.backend:load"
_SEMANTIC_SAM = "uosam.backends.semantic_sam.backend:load"
_GRANULAR = "https://github.com/UX-Decoder/Semantic-SAM/releases/download/checkpoint"
_MOBILE = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One backend by name: the one line that a new model needs in this package.

    Attributes:
        name: what users call it.
        parameters: number of weights of the whole model, 0 for a model without weights.
        licence: SPDX identifier of the weights, or of the code where there are none.
        file: name of the weights file, or None.
        size: bytes of the file, 0 if not known.
        sha256: digest of the file, hexadecimal; "" if not known.
        md5: digest of the file, hexadecimal.
        url: where the authors offer the file.
        packaged: folder below ``uosam/backends`` that the file lies in, "" if it is to be fetched.
        folder: whether its weights are a folder that the user names.
        levels: how many levels of granularity it answers; 0 for a model without.
        load: ``module:function`` that builds the backend.
    """

    name: str
    load: str
    parameters: int
    licence: str
    file: str | None = None
    size: int = 0
    sha256: str = ""
    md5: str = ""
    url: str = ""
    packaged: str = ""
    folder: bool = False
    levels: int = 0


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="graphcut",
            load="uosam.backends.graphcut.backend:load",
            parameters=0,
            licence="Apache-2.0",
            levels=6,
        ),
        Model(
            name="tiny",
            load=_SAM,
            parameters=5_643_248,
            licence="research",
            file="tiny.safetensors",
            size=11630856,
            sha256="df38dc3f496555032fe1ed936f4a1b520a908f39da56fdc0566df115dddf23ea",
            packaged="sam",
            levels=3,
        ),
        Model(
            name="vit_t",
            load=_SAM,
            parameters=10_130_092,
            licence="Apache-2.0",
            file="mobile_sam.pt",
            size=40_728_226,
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            md5="f3c0d8cda613564d499310dab6c812cd",
            url=f"{_MOBILE}/mobile_sam.pt",
        ),
        Model(
            name="vit_b",
            load=_SAM,
            parameters=93_735_472,
            licence="Apache-2.0",
            file="sam_vit_b_01ec64.pth",
            size=375_042_383,
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            md5="01ec64d29a2fca3f0661936605ae66f8",
            url=f"{_META}/sam_vit_b_01ec64.pth",
        ),
        Model(
            name="vit_l",
            load=_SAM,
            parameters=312_342_832,
            licence="Apache-2.0",
            file="sam_vit_l_0b3195.pth",
            size=1_249_524_607,
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            md5="0b3195507c641ddb6910d2bb5adee89c",
            url=f"{_META}/sam_vit_l_0b3195.pth",
        ),
        Model(
            name="vit_h",
            load=_SAM,
            parameters=641_090_608,
            licence="Apache-2.0",
            file="sam_vit_h_4b8939.pth",
            size=2_564_550_879,
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            md5="4b8939a88964f0f4ff5f5b2642c598a6",
            url=f"{_META}/sam_vit_h_4b8939.pth",
        ),
        Model(
            name="semantic_sam_t",
            load=_SEMANTIC_SAM,
            parameters=52_587_327,
            licence="not stated",
            file="swint_only_sam_many2many.pth",
            url=f"{_GRANULAR}/swint_only_sam_many2many.pth",
            levels=6,
        ),
        Model(
            name="semantic_sam_l",
            load=_SEMANTIC_SAM,
            parameters=222_405_945,
            licence="not stated",
            file="swinl_only_sam_many2many.pth",
            url=f"{_GRANULAR}/swinl_only_sam_many2many.pth",
            levels=6,
        ),
        Model(
            name="hf",
            load="uosam.backends.hf.backend:load",
            parameters=0,
            licence="its own",
            folder=True,
        ),
    )
}


def with_levels() -> list[str]:
    """Name the models that answer levels of granularity."""
    return [model.name for model in MODELS.values() if model.levels]


def model_directory() -> Path:
    """Return the folder that downloaded weights live in: ``$UOSAM_CACHE`` or the user cache."""
    cache = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("uosam", appauthor=False)
    return Path(cache).expanduser() / "models"


def weights_path(model: Model) -> Path | None:
    """Return where the weights file of a model is looked for; None for a model without one."""
    if model.file is None:
        return None
    folder = Path(__file__).parent / model.packaged if model.packaged else model_directory()
    return folder / model.file

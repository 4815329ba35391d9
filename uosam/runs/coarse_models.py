"""The table of USS models: where each lies, what its masks look like, which id is no object.

The models live in ``uosam.baselines``; text names them, so that listing imports nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uosam
from uosam.backends.student.header import read_facts
from uosam.backends.weights.checkpoints import folder_digest
from uosam.datasets.vocabulary import has_background
from uosam.errors import BackendError, ConfigError, InputError
from uosam.lookup import lookup
from uosam.runs.manifest import Row, file_digest
from uosam.structures import Floats, Image, Sample

Model = Callable[[Image], Floats]


@dataclass(frozen=True, kw_only=True)
class CoarseOptions:
    """Which model labels the pictures, and what is written.

    Attributes:
        model: key of ``MODELS`` or ``module:function``.
        checkpoint: its weights file; None for a model without one.
        device: "auto" or a torch device.
        settings: further arguments of the model's function; files among them count by content.
        scores: folder for float16 class scores beside the masks, or None.
        compress: write scores as ``.npz`` instead of ``.npy``.
        overwrite: replace results of other settings.
    """

    model: str
    checkpoint: str | None = None
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: str | None = None
    compress: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class UssModel:
    """What is known of a model before it is loaded.

    Attributes:
        load: ``module:function`` that loads it.
        background: id that is no object, or None where every id is a class.
        codec: encoding in which its community writes masks.
        clusters: whether its ids are clusters, of which nobody has said which class they are.
        packaged: ``module:function`` that finds the weights which an installed package brings, for
            a run without a checkpoint; "" if there are none.
    """

    load: str
    background: int | None
    codec: str = "index8"
    clusters: bool = True
    packaged: str = ""


PRETRAINED = "uosam.backends.imagenet.weights:find_weights"

MODELS = {
    "cause": UssModel(load="uosam.baselines.cause:load", background=None),
    "clusters": UssModel(
        load="uosam.baselines.clusters:load", background=None, packaged=PRETRAINED
    ),
    "hp": UssModel(load="uosam.baselines.hp:load", background=None),
    "imagenet": UssModel(
        load="uosam.baselines.imagenet:load",
        background=0,
        clusters=False,
        packaged=PRETRAINED,
    ),
    "kmeans": UssModel(load="uosam.baselines.kmeans:load", background=None),
    "maskcontrast": UssModel(load="uosam.baselines.maskcontrast:load_fitted", background=0),
    "maskcontrast-linear": UssModel(
        load="uosam.baselines.maskcontrast_linear:load", background=0, clusters=False
    ),
    "pass": UssModel(load="uosam.baselines.pass_:load", background=0, codec="luss"),
    "picie": UssModel(load="uosam.baselines.picie:load", background=None),
    "segmentor": UssModel(
        load="uosam.backends.text.segmentor:load", background=None, clusters=False
    ),
    "smooseg": UssModel(load="uosam.baselines.smooseg:load", background=None),
    "student": UssModel(load="uosam.backends.student.model:load", background=None),
    "stego": UssModel(load="uosam.baselines.stego:load", background=None),
}

REFERENCES = {name: model.load for name, model in MODELS.items()}
"""Name to ``module:function``, for ``lookup``."""


def describe_model(
    name: str, settings: Mapping[str, Any] | None = None, checkpoint: str | None = None
) -> UssModel:
    """Return the facts of a key of ``MODELS``; another name is code that writes grey ids, 0 none.

    Args:
        name: key, or ``module:function``.
        settings: of the model; a vocabulary decides whether there is a background.
        checkpoint: of the model; a student's says what its masks look like.

    Raises:
        BackendError: the checkpoint is no student.

    >>> describe_model("stego").background is None, describe_model("mylab.net:load").background
    (True, 0)
    >>> describe_model("imagenet", {"vocabulary": "cocostuff"}).background is None
    True
    """
    facts = MODELS.get(name, UssModel(load=name, background=0, clusters=False))
    vocabulary = (settings or {}).get("vocabulary")
    if name == "imagenet" and vocabulary is not None and not has_background(vocabulary):
        return replace(facts, background=None)
    if name == "student" and checkpoint is not None:
        taught = read_facts(Path(checkpoint))
        codec = taught.codec if taught.codec == "luss" else facts.codec
        return replace(facts, background=taught.background, codec=codec)
    return facts


def choose_clusters(settings: Mapping[str, Any]) -> str:
    """Return which k-means ``--k`` stands for, by what is installed and what the settings name.

    Args:
        settings: of the model; those that only "kmeans" has decide for it.

    >>> choose_clusters({"backend": "graphcut"})
    'kmeans'
    """
    try:
        lookup("weights", PRETRAINED, {})()
    except (BackendError, ConfigError):
        return "kmeans"
    has_timm = importlib.util.find_spec("timm") is not None
    named = {"backend", "timm", "centroids"} & settings.keys()
    return "clusters" if has_timm and not named else "kmeans"


def find_model(options: CoarseOptions, samples: Sequence[Sample]) -> Callable[[], Model]:
    """Return the function that loads the model which the options name, ready to be called.

    Raises:
        ConfigError: the name is not known, its code is not on the Python path, or the settings
            are not those of the model.
    """
    load = lookup("model", options.model, REFERENCES)
    first = next(iter(inspect.signature(load).parameters.values()))
    if options.checkpoint is None and first.default is inspect.Parameter.empty:
        raise ConfigError(f"model {options.model!r} needs its weights; give --checkpoint FILE")
    arguments = {"device": options.device, **options.settings}
    if needs_set(load, options):
        arguments["pictures"] = [sample.image for sample in samples]
    try:
        inspect.signature(load).bind(options.checkpoint, **arguments)
    except TypeError as error:
        known = [name for name in inspect.signature(load).parameters if name != "device"][1:]
        raise ConfigError(
            f"model {options.model!r} takes the settings {', '.join(known) or 'none'}, got "
            f"{', '.join(options.settings) or 'none'} ({error}); give them as -s NAME=VALUE"
        ) from error
    return lambda: load(options.checkpoint, **arguments)


def needs_set(load: Callable[..., Any], options: CoarseOptions) -> bool:
    """Tell whether a model is fitted to the pictures themselves, and no earlier fit is given."""
    fitted = {"centroids", "clusters", "pictures"} & options.settings.keys()
    return "pictures" in inspect.signature(load).parameters and not fitted


def make_header(options: CoarseOptions, samples: Sequence[Sample]) -> Row:
    """Return everything that determines a mask, besides the picture; files stand as digests.

    Raises:
        InputError: the checkpoint cannot be read.
        BackendError: the package that brings the weights is missing, or a folder has none.
    """
    try:
        path: str | Path | None = options.checkpoint
        packaged = describe_model(options.model).packaged
        if path is None and packaged and "encoder" not in options.settings:
            path = lookup("weights", packaged, {})()
        if path is not None and Path(path).is_dir():
            weights = folder_digest(Path(path))
        else:
            weights = "none" if path is None else file_digest(Path(path))
    except OSError as error:
        raise InputError(
            f"{options.checkpoint}: checkpoint cannot be read ({error.strerror}); "
            "give the weights file of the model with --checkpoint"
        ) from error
    settings: dict[str, Any] = {"model": options.model, "compress": options.compress}
    settings["scores"] = options.scores is not None
    for key, value in options.settings.items():
        if key == "save":  # where a model leaves what it learned decides nothing
            continue
        is_file = isinstance(value, str) and Path(value).is_file()
        settings[f"settings.{key}"] = file_digest(Path(value)) if is_file else value
    if needs_set(lookup("model", options.model, REFERENCES), options):
        names = "\n".join(sample.name for sample in samples)
        settings["pictures"] = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    header: Row = {"uosam": uosam.__version__, "weights": weights, "settings": settings}
    return {str(k): v for k, v in json.loads(json.dumps(header)).items()}

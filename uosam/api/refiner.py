"""Refine single pictures from Python: one call, or a loaded model as an object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uosam.api.coco import from_coco, is_coco
from uosam.api.masks import to_labels, to_stored
from uosam.api.pictures import to_image
from uosam.api.settings import settle
from uosam.backends import BackendOptions, load_backend
from uosam.backends.sharing import BatchingBackend, work_together
from uosam.backends.weights.cache import open_cache, remember
from uosam.config import Config
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import Choice, LabelFile
from uosam.io.images import check_same_size
from uosam.pipeline import refine as refine_ids
from uosam.structures import Backend, Guide, Image, Refinement

if TYPE_CHECKING:
    from uosam.api.pictures import ImageLike, MaskLike


class Refiner:
    """A loaded segmenter with its settings: call it with a picture and a coarse mask.

    Args:
        model: name of the segmenter as ``uosam models`` lists it, or ``module:function``; None for
            that of the settings, which is the one in the package unless ``config`` says otherwise.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"; None for that of the settings.
        config: settings to start from: a YAML file, the name of a packaged one such as "paper", or
            a ``Config``; None for the defaults.
        options: further settings by the names of their YAML keys: ``rounds=4``, or with the
            section where two share a key, ``local_region={"enabled": False}``. ``uosam config``
            prints all of them.

    Raises:
        ConfigError: a setting is unknown, out of range, or only for folders.
        BackendError: the model or its weights cannot be loaded.

    >>> import numpy as np
    >>> refiner = Refiner("graphcut", rounds=2, judge=False)
    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> image[10:30, 15:45] = (200, 80, 40)
    >>> mask = np.zeros((40, 60), bool)
    >>> mask[12:33, 12:42] = True
    >>> result = refiner(image, mask)
    >>> result.labels.dtype, result.labels.shape, int(result.labels.sum())
    (dtype('bool'), (40, 60), 596)
    """

    config: Config
    backend: Backend

    def __init__(
        self,
        model: str | None = None,
        *,
        device: str | None = None,
        config: str | os.PathLike[str] | Config | None = None,
        **options: Any,
    ) -> None:
        given = {"name": model, "device": device}
        named = {f"backend.{key}": value for key, value in given.items() if value is not None}
        self.config = settle(config, {**options, **named})
        if self.config.labels.scores is not None:
            raise ConfigError(
                "labels.scores is for folders; give class scores (C, H, W) as the mask"
            )
        if self.config.depth.folder is not None:
            raise ConfigError("depth.folder is for folders; give the rendered depth as the guide")
        self.backend = _load(self.config)

    def __call__(
        self,
        image: ImageLike,
        mask: MaskLike,
        *,
        guide: Guide | ImageLike | None = None,
        background: Choice = "default",
        ignore: Choice = "default",
        names: Mapping[int, str] | None = None,
    ) -> Refinement:
        """Sharpen one coarse mask.

        Args:
            image: path, Pillow picture, array or torch tensor: (H, W), (H, W, C) or (C, H, W), in
                the order RGB; uint8, uint16, or floats in [0, 1].
            mask: of the same size: path, Pillow picture (palette too), integer or bool ids (H, W),
                binary 0 / 255, float scores (C, H, W), or one soft mask (H, W) in [0, 1]; or the
                path of COCO JSON that names the picture, whose objects become ids from 1 on.
            guide: a second picture of the view, such as rendered depth (``make_guide`` of
                ``uosam.geometry.render``), in which the global stage looks for proposals.
            background: id that is no object, None where every id is a class (STEGO-style); 0 by
                default, or ``labels.background``.
            ignore: stored value that means "unknown", None for none; by default 255 in uint8, 65535
                in uint16, 1000 in LUSS, and negative ids.
            names: id to class name, for drawings and tables.

        Returns:
            The refined map; ``labels`` has the dtype and the values of the mask that came in. Of
            class scores and LUSS, whose ids are spread over channels, it holds int32 ids.

        Raises:
            InputError: picture or mask are none of these, or differ in size.
        """
        inputs = self._read(image, mask, background=background, ignore=ignore, names=names)
        if guide is not None and not isinstance(guide, Guide):
            guide = Guide(image=to_image(guide))
        result = _compute(self.backend, inputs=inputs, config=self.config, guide=guide)
        return _finish(result, inputs[1])

    def many(
        self,
        pairs: Iterable[tuple[ImageLike, MaskLike]],
        *,
        background: Choice = "default",
        ignore: Choice = "default",
        names: Mapping[int, str] | None = None,
    ) -> Iterator[Refinement]:
        """Sharpen pair after pair, ``engine.batch`` of them at a time.

        Args:
            pairs: of picture and mask, as for a call; read as results are asked for.
            background: as for a call.
            ignore: as for a call.
            names: as for a call.

        Yields:
            The result of each pair, in order.

        Raises:
            InputError: a pair is unusable; its number is part of the message.
        """
        numbered = iter(enumerate(pairs, start=1))
        while batch := list(islice(numbered, self.config.engine.batch)):
            read = []
            for number, (image, mask) in batch:
                try:
                    inputs = self._read(
                        image, mask, background=background, ignore=ignore, names=names
                    )
                except InputError as error:
                    raise InputError(f"pair {number}: {error}") from error
                read.append(inputs)
            works = [partial(_compute, inputs=inputs, config=self.config) for inputs in read]
            if len(works) > 1 and isinstance(self.backend, BatchingBackend):
                results = work_together(works, self.backend)
            else:
                results = [work(self.backend) for work in works]
            for result, (_, file) in zip(results, read, strict=True):
                yield _finish(result, file)

    def __repr__(self) -> str:
        """Name the model and the device that were asked for."""
        options = self.config.backend
        return f"Refiner({options.name!r}, device={options.device!r})"

    def _read(
        self,
        image: ImageLike,
        mask: MaskLike,
        *,
        background: Choice,
        ignore: Choice,
        names: Mapping[int, str] | None,
    ) -> tuple[Image, LabelFile]:
        labels = self.config.labels
        if background == "default":
            background = None if labels.background == "none" else labels.background
        if ignore == "default":
            ignore = None if labels.ignore == "none" else labels.ignore
        if is_coco(mask):
            file = from_coco(mask, image)
        else:
            file = to_labels(mask, background=background, ignore=ignore, codec=labels.codec)
        if names:
            file = replace(file, spec=replace(file.spec, names=dict(names)))
        picture = to_image(image)
        if isinstance(image, (str, os.PathLike)) and isinstance(mask, (str, os.PathLike)):
            check_same_size(Path(image), picture.shape[:2], Path(mask), file.labels.shape)
        return picture, file


def refine(
    image: ImageLike,
    mask: MaskLike,
    model: str | None = None,
    *,
    device: str | None = None,
    config: str | os.PathLike[str] | Config | None = None,
    guide: Guide | ImageLike | None = None,
    background: Choice = "default",
    ignore: Choice = "default",
    names: Mapping[int, str] | None = None,
    **options: Any,
) -> Refinement:
    """Sharpen one coarse mask of one picture.

    The model stays loaded for the next call with the same one.

    Args:
        image: as for a call of ``Refiner``.
        mask: as for a call of ``Refiner``.
        model: as for ``Refiner``.
        device: as for ``Refiner``.
        config: as for ``Refiner``.
        guide: as for a call of ``Refiner``.
        background: as for a call of ``Refiner``.
        ignore: as for a call of ``Refiner``.
        names: as for a call of ``Refiner``.
        options: as for ``Refiner``.

    Returns:
        The refined map and what was decided; it has ``plot``, ``show`` and ``save``.

    Raises:
        InputError: picture or mask are unusable, or differ in size.
        ConfigError: a setting is unknown or out of range.
        BackendError: the model or its weights cannot be loaded.

    >>> import numpy as np
    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> image[10:30, 15:45] = (200, 80, 40)
    >>> mask = np.zeros((40, 60), np.uint8)
    >>> mask[12:33, 12:42] = 255
    >>> refine(image, mask, "graphcut", judge=False)  # doctest: +ELLIPSIS
    Refinement(40 x 60, 1 of 1 objects redrawn, 10.7 % of pixels changed, ...)
    """
    refiner = Refiner(model, device=device, config=config, **options)
    return refiner(image, mask, guide=guide, background=background, ignore=ignore, names=names)


@lru_cache(maxsize=1)
def _loaded(options: BackendOptions) -> Backend:
    return load_backend(options)


def _load(config: Config) -> Backend:
    """Load the model, or take the one that was loaded last, with a cache if one is asked for."""
    if config.engine.embedding_cache != "always":
        return _loaded(config.backend)
    backend = load_backend(config.backend)
    remember(backend, config.backend, open_cache(config.engine.embedding_cache_gb))
    return backend


def _compute(
    backend: Backend,
    *,
    inputs: tuple[Image, LabelFile],
    config: Config,
    guide: Guide | None = None,
) -> Refinement:
    image, file = inputs
    return refine_ids(
        image,
        file.labels,
        backend,
        config.refine,
        background=file.spec.background,
        scores=file.scores,
        guide=guide,
    )


def _finish(result: Refinement, file: LabelFile) -> Refinement:
    """Give the refined map the form of the mask that came in."""
    labels = to_stored(result.ids, file)
    return replace(result, labels=np.asarray(labels), spec=file.spec, stored=file.stored)

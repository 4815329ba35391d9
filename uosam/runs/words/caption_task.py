"""The task behind ``uosam caption``: read a picture, find its regions, put them into words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import uosam
from uosam.backends import load_backend, weights_digest
from uosam.backends.text.captioners import captioner_digest, load_captioner
from uosam.errors import InputError
from uosam.io.codecs import read_with
from uosam.io.images import check_same_size, read_image
from uosam.regions.captions import (
    Skipped,
    Spoken,
    encode_document,
    masks_of,
    split_regions,
)
from uosam.regions.crops import Region
from uosam.report.phrases import encode_phrases
from uosam.runs.manifest import Row
from uosam.runs.task import Encoded, Task
from uosam.runs.words.asked import (
    Question,
    answer,
    caption_points,
    check_inside,
    to_prompts,
)
from uosam.runs.words.options import CaptionOptions
from uosam.stages.everything import find_everything
from uosam.structures import (
    Backend,
    Captioner,
    Image,
    LabelSpec,
    Sample,
)

FOLDER = "captions"
"""Of the documents, one a picture, in the output folder."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Models:
    """What puts regions into words, and what finds them where no masks are given."""

    captioner: Captioner
    segmenter: Backend | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """One picture in memory; of a map, the regions to caption and those left out; questions."""

    image: Image
    regions: Sequence[Region] = ()
    skipped: Sequence[Skipped] = ()
    questions: Sequence[Question] = ()


@dataclass(frozen=True, kw_only=True)
class CaptionTask(Task):
    """Caption the regions of one picture.

    Attributes:
        folder: of the run.
        options: which regions, and which model.
        questions: points and boxes by picture, for ``by="prompts"``.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "captioned": "captioned",
        "empty": "without any region",
        "phrases": "phrases",
        "skipped": "regions left out",
    }
    statuses: ClassVar[tuple[str, ...]] = ("captioned", "empty")
    reasons: ClassVar[tuple[str, ...]] = ("skipped",)
    folder: Path
    options: CaptionOptions
    questions: Mapping[str, list[Question]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.folder

    @property
    def workers(self) -> int:
        """Processes, each with its own models."""
        return self.options.workers

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.options.overwrite

    def header(self) -> Row:
        """Return everything that determines a phrase, besides picture and mask."""
        options = self.options
        captioner = asdict(options.captioner)
        for key in ("checkpoint", "tokenizer", "device", "batch"):
            captioner.pop(key)
        names = ("by", "whole_classes", "min_area", "background", "most")
        settings: dict[str, Any] = {f"caption.{name}": getattr(options, name) for name in names}
        settings |= {f"captioner.{key}": value for key, value in captioner.items()}
        weights = {"captioner": captioner_digest(options.captioner)}
        if options.by != "regions":
            if options.by == "proposals":
                found = asdict(options.everything)
                settings |= {f"everything.{key}": value for key, value in found.items()}
            settings["backend.name"] = self._segmenter()
            if self._segmenter() != "sca":
                weights["segmenter"] = weights_digest(options.backend)
        else:
            for key in ("codec", "background", "ignore"):
                settings[f"labels.{key}"] = getattr(options.labels, key)
        header = {"uosam": uosam.__version__, "weights": weights, "settings": settings}
        return {str(key): value for key, value in json.loads(json.dumps(header)).items()}

    def _segmenter(self) -> str:
        """Return what finds proposals: SCA by itself, other captioners need a backend."""
        return "sca" if self.options.captioner.name == "sca" else self.options.backend.name

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the picture and its mask, or the table of questions."""
        if sample.image is None:
            raise InputError(f"sample {sample.name!r} must have a picture")
        if self.options.by == "proposals":
            return {"image": sample.image}
        if self.options.prompts is not None:
            return {"image": sample.image, "prompts": Path(self.options.prompts)}
        if sample.coarse is None:
            raise InputError(f"sample {sample.name!r} must have a mask")
        return {"image": sample.image, "mask": sample.coarse}

    def output(self, sample: Sample) -> Path:
        """Return where the document of a picture goes."""
        return self.folder / FOLDER / f"{sample.name}.json"

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return where the picture for people goes."""
        folder = self.options.overlay
        return () if folder is None else (Path(folder) / f"{sample.name}.jpg",)

    def load(self) -> Models:
        """Load the captioner and, for proposals, a segmenter."""
        captioner = load_captioner(self.options.captioner)
        if self.options.by == "regions":
            return Models(captioner=captioner, segmenter=None)
        own = getattr(captioner, "backend", None)
        segmenter = load_backend(self.options.backend) if own is None else own
        return Models(captioner=captioner, segmenter=segmenter)

    def read(self, sample: Sample) -> Shown:
        """Read the picture and, for regions, cut its mask into them."""
        paths = self.inputs(sample)
        image = read_image(paths["image"])
        if "mask" not in paths:
            questions = self.questions.get(sample.name, [])
            check_inside(questions, (image.shape[0], image.shape[1]))
            return Shown(image=image, questions=questions)
        file = read_with(paths["mask"], self.options.labels)
        check_same_size(paths["image"], image.shape[:2], paths["mask"], file.labels.shape)
        spec: LabelSpec = file.spec
        regions, skipped = split_regions(
            file.labels,
            sample.name,
            whole_classes=self.options.whole_classes,
            min_area=self.options.min_area,
            background=None if self.options.background else spec.background,
        )
        regions, left = _largest(regions, self.options.most)
        return Shown(image=image, regions=regions, skipped=[*skipped, *left])

    def compute(self, model: Models, read: Shown) -> list[Spoken]:
        """Caption the regions of one picture, or find and caption its proposals."""
        if model.segmenter is not None and self.options.by == "prompts":
            return self._answer(model.captioner, model.segmenter, read)
        if model.segmenter is not None:
            return self._caption_proposals(model.captioner, model.segmenter, read.image)
        hw = (read.image.shape[0], read.image.shape[1])
        masks = masks_of(read.regions, hw)
        captions = model.captioner.caption(read.image, masks)
        return [
            Spoken(
                mask=mask,
                caption=caption,
                prompt=self._prompt(),
                label=region.label,
                component=region.component,
            )
            for mask, caption, region in zip(masks, captions, read.regions, strict=True)
        ]

    def _prompt(self) -> str:
        return "box" if self.options.captioner.name == "sca" else "crop"

    def _caption_proposals(
        self, captioner: Captioner, segmenter: Backend, image: Image
    ) -> list[Spoken]:
        """Filter first, caption what is left: SCA by the point that found it, others by its mask.

        The public SCA captions every point of the grid and throws most of it away; a caption
        depends on its point alone, so the phrases are the same.
        """
        embedding = segmenter.embed(image)
        segments = find_everything(image, segmenter, self.options.everything, whole=embedding)
        least = self.options.min_area * image.shape[0] * image.shape[1]
        segments = [one for one in segments if np.count_nonzero(one.mask) >= max(1, least)]
        if self.options.most:
            segments = segments[: self.options.most]
        if not segments:
            return []
        masks = np.stack([segment.mask for segment in segments])
        by_point = hasattr(captioner, "caption_prompts")
        if by_point:
            captions = caption_points(captioner, embedding, segments)
        else:
            captions = captioner.caption(image, masks)
        return [
            Spoken(
                mask=mask,
                caption=caption,
                prompt="point" if by_point else self._prompt(),
                score=segment.score,
                stability=segment.stability,
                point=segment.point,
            )
            for mask, caption, segment in zip(masks, captions, segments, strict=True)
        ]

    def _answer(self, captioner: Captioner, segmenter: Backend, read: Shown) -> list[Spoken]:
        """Caption the points and boxes that were asked about, in their order."""
        if not read.questions:
            return []
        embedding = segmenter.embed(read.image)
        spoken: dict[Question, Spoken] = {}
        for kind in ("point", "box"):
            some = [one for one in dict.fromkeys(read.questions) if one.kind == kind]
            if not some:
                continue
            masks = answer(some, embedding, segmenter)
            ask = getattr(captioner, "caption_prompts", None)
            if ask is not None:
                captions = ask(embedding, to_prompts(some, inclusive=False))
            else:
                captions = captioner.caption(read.image, masks)
            for one, mask, caption in zip(some, masks, captions, strict=True):
                spoken[one] = Spoken(mask=mask, caption=caption, prompt=kind, asked=one.at)
        return [spoken[one] for one in read.questions]

    def encode(self, sample: Sample, read: Shown, result: list[Spoken]) -> Encoded:
        """Encode the document and the picture for people."""
        hw = (read.image.shape[0], read.image.shape[1])
        reasons: dict[str, int] = {}
        for one in read.skipped:
            reasons[one.reason] = reasons.get(one.reason, 0) + 1
        name = self.options.captioner.name
        return Encoded(
            data=encode_document(sample.name, hw, name, result, read.skipped),
            extras={
                path: encode_phrases(
                    read.image, [one.mask for one in result], [one.caption.text for one in result]
                )
                for path in self.extras(sample)
            },
            status="captioned" if result else "empty",
            details={"phrases": len(result), "skipped": reasons},
        )


def _largest(regions: list[Region], most: int) -> tuple[list[Region], list[Skipped]]:
    """Keep the ``most`` largest regions in their order; 0 keeps all."""
    if not most or len(regions) <= most:
        return regions, []
    kept = set(sorted(range(len(regions)), key=lambda index: -regions[index].share)[:most])
    left = [
        Skipped(
            label=region.label,
            component=region.component,
            area=int(np.count_nonzero(region.mask)),
            reason="most",
        )
        for index, region in enumerate(regions)
        if index not in kept
    ]
    return [region for index, region in enumerate(regions) if index in kept], left

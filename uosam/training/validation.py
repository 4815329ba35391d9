"""Scores of the averaged network on held-back pictures while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam

from uosam.backends.sam.backend import SamBackend
from uosam.errors import InputError
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.pipeline import RefineOptions
from uosam.stages.prompts import PromptOptions
from uosam.structures import Image, LabelMap
from uosam.training.log import append_row
from uosam.training.options import TrainOptions
from uosam.training.quality import prompt_quality, refinement_quality

WITHOUT_BACKGROUND = ("street",)
"""Sets in which every id is a class."""


@dataclass(frozen=True, kw_only=True)
class ValidationSet:
    """Some pictures of one set: ``images/NAME.jpg``, ``gt/NAME.png``, ``coarse/NAME.png``."""

    name: str
    triples: tuple[tuple[Image, LabelMap, LabelMap], ...]
    background: int | None


def read_validation_sets(root: Path, amount: int | None) -> list[ValidationSet]:
    """Read every set below a folder.

    Args:
        root: folder of sets.
        amount: pictures of each, evenly spread; None takes all.

    Raises:
        InputError: there is no set, or a file of it is missing or damaged.
    """
    found = []
    for folder in sorted(path for path in root.glob("*") if (path / "images").is_dir()):
        images = sorted((folder / "images").glob("*.jpg"))
        every = 1 if amount is None else max(1, len(images) // amount)
        triples = []
        for path in images[::every][:amount]:
            maps = [
                read_labels(folder / kind / f"{path.stem}.png").labels for kind in ("gt", "coarse")
            ]
            triples.append((read_image(path), maps[0], maps[1]))
        background = None if folder.name in WITHOUT_BACKGROUND else 0
        found.append(ValidationSet(name=folder.name, triples=tuple(triples), background=background))
    if not found:
        raise InputError(f"{root} must hold SET/images, SET/gt and SET/coarse, found no such set")
    return found


def validator(
    sets: list[ValidationSet], options: TrainOptions, out: Path, on_line: Callable[[str], None]
) -> Callable[[Sam, int], None]:
    """Return a function that scores a network on all sets and adds a row to validation.csv."""
    refine_options = RefineOptions(
        prompts=PromptOptions(mask_strength=options.mask_strength, mask_reach=options.mask_reach)
    )

    def validate(sam: Sam, step: int) -> None:
        backend = SamBackend(sam=sam, device=next(sam.parameters()).device)
        row: dict[str, float] = {"step": step}
        for chosen in sets:
            refined = refinement_quality(chosen.triples, backend, refine_options, chosen.background)
            pairs = ((image, target) for image, target, _ in chosen.triples)
            asked = prompt_quality(pairs, backend, chosen.background)
            scores = {**refined, **asked}
            for name in ("coarse", "refined", "click", "click oracle", "box", "spearman"):
                row[f"{chosen.name} {name}"] = scores[name]
        append_row(out / "validation.csv", row)
        text = "  ".join(
            f"{s.name} {row[f'{s.name} coarse']:.3f}>{row[f'{s.name} refined']:.3f} "
            f"click {row[f'{s.name} click']:.2f} box {row[f'{s.name} box']:.2f}"
            for s in sets
        )
        on_line(f"validation at {step}: {text}")
        torch.set_grad_enabled(True)

    return validate

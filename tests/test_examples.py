"""The examples are whole, small, and made from what is in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from examples.make_ground_truth import main as make_ground_truth
from uosam.config import examples_folder
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.structures import IGNORE

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DRAWN = json.loads((EXAMPLES / "polygons.json").read_text())
NAMES = sorted(DRAWN["pictures"])


def test_every_picture_has_masks_outlines_and_a_licence() -> None:
    text = (EXAMPLES / "README.md").read_text()
    assert len(NAMES) >= 4
    for folder in ("coarse", "ground_truth"):
        pairs = find_pairs(EXAMPLES / "images", EXAMPLES / folder)
        assert [sample.name for sample in pairs.samples] == NAMES
        assert not pairs.unpaired_images
    assert all(f"| `{name}` |" in text for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_small_and_masks_fit_them(name: str) -> None:
    path = EXAMPLES / "images" / f"{name}.jpg"
    image = read_image(path)
    assert path.stat().st_size < 60_000
    assert max(image.shape) <= 512
    known = {int(label) for label in DRAWN["classes"]} | {0}
    for folder in ("coarse", "ground_truth"):
        mask = read_labels(EXAMPLES / folder / f"{name}.png")
        assert mask.spec.codec == "luss"
        assert mask.labels.shape == image.shape[:2]
        assert set(np.unique(mask.labels).tolist()) <= known | {IGNORE}


def test_some_id_needs_the_second_byte() -> None:
    labels = [read_labels(EXAMPLES / "coarse" / f"{name}.png").labels for name in NAMES]
    assert max(int(array.max()) for array in labels) > 255


def test_the_files_are_those_that_the_script_makes(tmp_path: Path) -> None:
    make_ground_truth(tmp_path)
    for folder in ("coarse", "ground_truth"):
        for name in NAMES:
            made, stored = (
                read_labels(top / folder / f"{name}.png").labels for top in (tmp_path, EXAMPLES)
            )
            # Versions of OpenCV and numpy may round a tie of the imitated coarse mask differently.
            assert np.mean(made != stored) < (0 if folder == "ground_truth" else 1e-3) + 1e-9


def test_the_demo_finds_them() -> None:
    assert examples_folder() == EXAMPLES

"""Names from Python: whatever holds pictures and masks, words as a list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import uosam
from tests.conftest import Scene
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import ConfigError, InputError

FAKE = "tests.text_fakes:load"
WORDS = ["sea", "fruit; tomato", "grass"]


def test_one_picture_or_several(scene: Scene, tmp_path: Path) -> None:
    one = uosam.name(scene.image, scene.target, WORDS, model=FAKE, min_regions=1)
    assert {label: found.text for label, found in one.items()} == {1: "fruit", 2: "grass"}
    assert one[1].best[0][0] == "fruit"
    # Fewer than three regions are too few to be sure.
    unsure = uosam.name(scene.image, scene.target, WORDS, model=FAKE)
    assert {found.text for found in unsure.values()} == {"unknown"}
    PIL.Image.fromarray(scene.image).save(tmp_path / "a.png")
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    images = [scene.image, tmp_path / "a.png", PIL.Image.fromarray(scene.image)]
    for words in (tmp_path / "words.txt", read_vocabulary(tmp_path / "words.txt"), WORDS):
        several = uosam.name(images, [scene.target] * 3, words, model=FAKE, background=None)
        assert {label: found.text for label, found in several.items()} == {
            0: "sea",
            1: "fruit",
            2: "grass",
        }
        assert several[0].pictures == 3
    paired = uosam.name(
        images, [scene.target] * 3, ["grass", "lawn"], model=FAKE, assign="one-to-one", min_share=0
    )
    assert {found.text for found in paired.values()} == {"grass", "lawn"}


def test_what_cannot_be_named(scene: Scene) -> None:
    with pytest.raises(InputError, match="got 2 pictures and 1 masks"):
        uosam.name([scene.image] * 2, [scene.target], WORDS, model=FAKE)
    with pytest.raises(InputError, match="nothing to name; lower min_area"):
        uosam.name(scene.image, np.zeros_like(scene.target), WORDS, model=FAKE)
    with pytest.raises(InputError, match="mask 0 must have the size of its picture"):
        uosam.name(scene.image[:9], scene.target, WORDS, model=FAKE)
    with pytest.raises(ConfigError, match="name takes the options assign, debias"):
        uosam.name(scene.image, scene.target, WORDS, model=FAKE, colour="red")

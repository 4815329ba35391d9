"""The weights that come with the package: whole, small, and good for something."""

import numpy as np
import pytest

from uosam.backends import BackendOptions, load_backend
from uosam.backends.models import MODELS, weights_path
from uosam.backends.weights.checkpoints import digests
from uosam.config import examples_folder, load_config
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.labels import areas, box, iou
from uosam.pipeline import refine
from uosam.structures import IGNORE, Prompts

NAMES = sorted(path.stem for path in (examples_folder() / "coarse").glob("*.png"))


@pytest.fixture(scope="module")
def backend():
    return load_backend(BackendOptions(name="tiny", device="cpu"))


def example(name):
    folder = examples_folder()
    image = read_image(next((folder / "images").glob(f"{name}.*")))
    return image, *(
        read_labels(folder / kind / f"{name}.png").labels for kind in ("coarse", "ground_truth")
    )


def test_the_file_is_the_one_of_the_table():
    model = MODELS["tiny"]
    path = weights_path(model)
    assert digests(path)[0] == model.sha256
    assert path.stat().st_size == model.size < 12e6


def test_coarse_shapes_of_the_examples_are_improved(backend):
    before, after = [], []
    options = load_config().refine
    for name in NAMES:
        image, coarse, target = example(name)
        refined = refine(image, coarse, backend, options).labels
        known = target != IGNORE
        for label in areas(target):
            if label not in (0, IGNORE):
                before.append(iou((coarse == label) & known, target == label))
                after.append(iou((refined == label) & known, target == label))
    assert np.mean(after) > np.mean(before) + 0.01


def test_boxes_say_more_than_clicks_and_both_more_than_nothing(backend):
    image, _, target = example("astronaut")
    masks = [target == label for label in areas(target) if label not in (0, IGNORE)]
    centres = [np.argwhere(mask)[np.count_nonzero(mask) // 2][::-1] for mask in masks]
    rows = np.zeros(len(masks), np.int32)
    clicks = Prompts(
        points=np.float32(centres)[:, None],
        point_labels=np.ones((len(masks), 1), np.int8),
        labels=rows,
    )
    boxes = Prompts(
        points=np.zeros((len(masks), 0, 2), np.float32),
        point_labels=np.zeros((len(masks), 0), np.int8),
        boxes=np.stack([box(mask) for mask in masks]),
        labels=rows,
    )
    embedding = backend.embed(image)
    best = {}
    for kind, prompts in (("click", clicks), ("box", boxes)):
        answers = backend.decode(embedding, prompts)
        overlaps = [
            iou(mask, masks[row]) for mask, row in zip(answers.masks, answers.row, strict=True)
        ]
        best[kind] = np.reshape(overlaps, (len(masks), 3)).max(axis=1).mean()
    whole = np.mean([mask.mean() for mask in masks])
    assert best["box"] > whole
    assert best["click"] > whole

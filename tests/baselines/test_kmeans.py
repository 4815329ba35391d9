import numpy as np
import pytest
from PIL import Image
from uosam.baselines.kmeans import CELLS, _spread, cluster, load

from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.io.pairs import find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions

BACKEND = "tests.coarse_models:backend"


@pytest.fixture
def images(tmp_path):
    """Pictures of a red, a green and a blue stripe, in turning order and varying brightness."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(6):
        image = np.zeros((24, 48, 3), np.uint8)
        for stripe in range(3):
            image[:, 16 * stripe : 16 * stripe + 16, (stripe + i) % 3] = 100 + 20 * i
        Image.fromarray(image).save(folder / f"{i}.png")
    (folder / "bad.jpg").write_bytes(b"")
    return folder


def label(images, out, **settings):
    samples, _ = find_pictures(images)
    options = CoarseOptions(model="kmeans", settings={"backend": BACKEND, **settings})
    return label_folder(samples, out, options)


def test_clusters_follow_the_features_over_the_whole_set(images, tmp_path):
    saved = tmp_path / "centroids.npy"
    result = label(images, tmp_path / "out", classes=3, save=str(saved))
    assert result.status["labelled"] == 6
    assert list(result.failures) == ["bad"]
    centroids = np.load(saved)
    assert centroids.shape == (3, 3)
    of_colour = np.eye(3, dtype=np.float32) @ centroids.T
    for i in range(6):
        labels = read_labels(tmp_path / "out" / f"{i}.png", background=None).labels
        for stripe in range(3):
            middle = labels[:, 16 * stripe + 4 : 16 * stripe + 12]
            assert (middle == of_colour[(stripe + i) % 3].argmax()).all()
    again = label(images, tmp_path / "again", centroids=str(saved))
    assert again.status["labelled"] == 6
    for i in range(6):
        first, second = ((tmp_path / out / f"{i}.png").read_bytes() for out in ("out", "again"))
        assert first == second
    assert label(images, tmp_path / "out", classes=3, save=str(saved)).skipped == 6


def test_scores_are_cosines(images):
    paths = [path for path in sorted(images.iterdir()) if path.suffix == ".png"]
    score = load(backend=BACKEND, classes=3, pictures=paths)
    scores = score(np.full((10, 7, 3), 80, np.uint8))
    assert scores.shape == (3, 10, 7)
    np.testing.assert_allclose(scores, 1 / np.sqrt(3), atol=1e-5)


def test_the_default_backend_serves(images):
    score = load(classes=2, pictures=sorted(images.iterdir())[:1])
    assert score(np.zeros((40, 50, 3), np.uint8)).shape == (2, 40, 50)


def test_kmeans_on_the_sphere():
    rng = np.random.default_rng(0)
    true = np.eye(4, dtype=np.float32)
    cells = np.repeat(true, 50, axis=0) + rng.normal(0, 0.02, (200, 4)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    centroids = cluster(cells, 4, seed=0)
    np.testing.assert_allclose(np.sort(centroids @ true, axis=1)[:, -1], 1, atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(centroids, cluster(cells, 4, seed=0))


@pytest.mark.parametrize("hw", [(1, 1), (16, 16), (64, 64), (43, 64)])
def test_cells_are_spread(hw):
    directions = np.arange(hw[0] * hw[1], dtype=np.float32).reshape(*hw, 1)
    picked = _spread(directions).ravel()
    assert 0 < len(picked) <= CELLS
    assert len(picked) > min(CELLS, hw[0] * hw[1]) / 2
    assert len(set(np.diff(picked))) <= 1


def test_what_does_not_fit(images, tmp_path):
    with pytest.raises(ConfigError, match="classes must be at least 2, got 1"):
        load(classes=1)
    with pytest.raises(
        InputError, match="27 classes need at least as many cells, got 0; give more"
    ):
        load(backend=BACKEND)
    with pytest.raises(BackendError, match=r"must be the .npy file of centroids, got FileNotFound"):
        load(backend=BACKEND, centroids=tmp_path / "no.npy")
    path = tmp_path / "centroids.npy"
    np.save(path, np.ones(3))
    with pytest.raises(BackendError, match=r"must be \(K, C\) centroids; write them with -s save="):
        load(backend=BACKEND, centroids=path)
    np.save(path, np.ones((2, 5)))
    with pytest.raises(BackendError, match="the 3 channels of the features, got 5; they were made"):
        load(backend=BACKEND, centroids=path)(np.zeros((8, 8, 3), np.uint8))

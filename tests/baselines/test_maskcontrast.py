"""MaskContrast against what its public code computed on seeded weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from uosam.baselines.maskcontrast import (
    SALIENT,
    Clusters,
    cluster,
    load,
    load_fitted,
    prototype_of,
    read_clusters,
)
from uosam.baselines.pictures import normalise
from uosam.baselines.resnet import stages

from tests.golden import agree, close, crc, picture, uss_state
from uosam.baselines import maskcontrast
from uosam.errors import BackendError, InputError

SETTINGS = [((120, 160), 61, 20), ((150, 110), 62, 35), ((96, 128), 63, 8),
            ((130, 131), 64, 50), ((100, 180), 65, 64), ((140, 100), 66, 14)]  # fmt: skip
COLOURS = [(230, 30, 30), (30, 230, 30), (30, 30, 230), (230, 230, 30), (20, 20, 20),
           (235, 235, 235)]  # fmt: skip


@pytest.fixture(scope="module")
def golden(shared):
    torch.set_num_threads(1)
    return shared / "golden" / "uss" / "maskcontrast"


@pytest.fixture(scope="module")
def expected(golden):
    return np.load(golden / "expected.npz")


@pytest.fixture(scope="module")
def model(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("maskcontrast") / "model.pth.tar"
    content = {"optimizer": {"state": {}, "param_groups": []}, "epoch": 59,
               "model": uss_state(golden)}  # fmt: skip
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return load(path)


def blended(index):
    plain = picture(*SETTINGS[index])
    return ((3 * np.array(COLOURS[index]) + plain.astype(np.int64)) // 4).astype(np.uint8)


@pytest.fixture(scope="module")
def clusters(expected):
    return cluster(expected["prototypes"])


def check_image(model, expected, index):
    image = blended(index)
    assert crc(image) == expected["input_crc32"][index]
    embedding, saliency = model.embed(image)
    close(embedding[:, ::64, ::64], expected["embedding_sub"][index], 3e-3)
    close(saliency[::16, ::16], expected["saliency_sub"][index], 3e-3)
    np.testing.assert_allclose(
        (saliency > SALIENT).mean(), expected["foreground_fraction"][index], atol=1e-3
    )
    prototype = prototype_of(embedding, saliency)
    deviation = expected["prototypes"].std()
    np.testing.assert_allclose(prototype, expected["prototypes"][index], atol=3e-3 * deviation)
    return embedding, saliency, prototype


def test_first_picture_equals_the_public_code(model, expected, clusters, monkeypatch):
    import cv2

    squashed = cv2.resize(blended(0), (512, 512), interpolation=cv2.INTER_CUBIC)
    pixels = normalise(squashed, torch.device("cpu"))
    np.testing.assert_allclose(pixels[0, :, ::32, ::32], expected["net_input_sub"][0], atol=1e-6)
    with torch.inference_mode():
        features = stages(model.resnet, pixels)[-1]
        close(features[0, ::32, ::8, ::8].numpy(), expected["backbone_im0_sub"], 3e-3)
        decoded = model.heads.decoder(features)
        close(decoded[0, ::8, ::8, ::8].numpy(), expected["decoder_im0_sub"], 3e-3)

    def remembered(resnet, seen):  # the backbone takes seconds, and has seen these pixels
        assert torch.equal(seen, pixels)
        return [features]

    monkeypatch.setattr(maskcontrast, "stages", remembered)
    _, saliency, prototype = check_image(model, expected, 0)
    chosen = clusters.distances(prototype).argmin()
    label = np.where(saliency > SALIENT, chosen + 1, 0)
    agree(label, expected["label_im0_full"])
    agree(label[::2, ::2], expected["label"][0])


@pytest.mark.slow
@pytest.mark.parametrize("index", range(1, 6))
def test_other_pictures_equal_the_public_code(model, expected, clusters, index):
    _, saliency, prototype = check_image(model, expected, index)
    label = np.where(saliency > SALIENT, clusters.distances(prototype).argmin() + 1, 0)
    agree(label[::2, ::2], expected["label"][index])


def test_clustering_equals_the_public_code(expected, clusters):
    prototypes = expected["prototypes"]
    np.testing.assert_array_equal(clusters.labels, expected["kmeans_seed1234"])
    for seed, labels in enumerate(expected["kmeans_seeds_1234_to_1238"], start=1234):
        np.testing.assert_array_equal(cluster(prototypes, seed=seed).labels, labels)
    whitened = (prototypes - clusters.mean) @ clusters.whitening
    close(whitened, expected["pca_whitened"])
    nearest = [clusters.distances(prototype).argmin() for prototype in prototypes]
    np.testing.assert_array_equal(nearest, clusters.labels)


def test_scores_have_the_published_map_as_argmax(model, monkeypatch):
    """A picture as high as the network's square and half as wide: every second column."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((4, 512, 512)).astype(np.float32)
    saliency = rng.standard_normal((512, 512)).astype(np.float32)
    monkeypatch.setattr(type(model), "embed", lambda self, image: (embedding, saliency))
    clusters = Clusters(
        mean=np.zeros(4, np.float32),
        whitening=np.eye(4, dtype=np.float32),
        centres=np.stack([np.ones(4), prototype_of(embedding, saliency) + 0.1]),
        labels=np.zeros(0),
    )
    scores = model.scores(np.zeros((512, 256, 3), np.uint8), clusters)
    assert scores.shape == (3, 512, 256)
    assert np.isfinite(scores).all()
    expected = np.where(saliency[:, ::2] > SALIENT, 2, 0)
    np.testing.assert_array_equal(scores.argmax(0), expected)


def test_nothing_salient_has_no_direction():
    zeros = prototype_of(np.ones((3, 2, 2), np.float32), np.zeros((2, 2), np.float32))
    assert zeros.tolist() == [0, 0, 0]


def test_clusters_are_made_from_pictures_or_read(monkeypatch, tmp_path):
    class Model:
        """Its prototype is the first column of the picture."""

        def prototype(self, image):
            return image[:, 0, 0].astype(np.float32)

        def scores(self, image, clusters):
            return clusters.distances(self.prototype(image))

    monkeypatch.setattr(maskcontrast, "load", lambda path, device: Model())
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(60)]
    pictures = rng.integers(0, 256, (60, 32, 3, 3), np.uint8)
    for path, image in zip(paths, pictures, strict=True):
        Image.fromarray(image).save(path)
    (tmp_path / "bad.png").write_bytes(b"")
    fitted = load_fitted("x", pictures=[*paths, tmp_path / "bad.png"])
    expected = cluster(pictures[:, :, 0, 0].astype(np.float32))
    np.testing.assert_allclose(
        fitted(pictures[0]), expected.distances(pictures[0, :, 0, 0]), rtol=1e-5
    )
    load_fitted("x", pictures=paths, save=str(tmp_path / "clusters.npz"))
    again = load_fitted("x", clusters=tmp_path / "clusters.npz")
    np.testing.assert_array_equal(fitted(pictures[1]), again(pictures[1]))
    with pytest.raises(InputError, match="of at least 32 pictures, got"):
        load_fitted("x", pictures=paths[:20])
    with pytest.raises(InputError, match="of at least 32 pictures, got"):
        load_fitted("x")


@pytest.mark.parametrize("content", [b"", b"text", "other"])
def test_clusters_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "clusters.npz"
    if content == "other":
        np.savez(path, centres=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"must be an .npz of clusters, got .*; make one with"):
        read_clusters(path)


def test_too_few_pictures():
    with pytest.raises(InputError, match=r"of at least 32 pictures, got \(31, 32\); give more"):
        cluster(np.ones((31, 32), np.float32))

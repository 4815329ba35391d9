"""Depth networks from folders: the public library's numbers, with their kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests import tiny_folders
from uosam.backends.depth.network import depth_kind, load
from uosam.errors import BackendError, InputError


def test_the_depth_of_the_public_pipeline(shared: Path) -> None:
    golden = np.load(shared / "golden/sad/depth_anything.npz")
    image = np.asarray(PIL.Image.open(shared / "golden/ssa/picture.png").convert("RGB"))
    model = load(shared / "golden/sad/models/depth_anything", "cpu")
    found = model.estimate(image)
    expected = golden["predicted_depth"]
    assert found.kind == "inverse"
    np.testing.assert_allclose(found.z, np.maximum(expected, 1e-6 * expected.max()), atol=1e-3)


@pytest.mark.parametrize("hw", [(40, 60), (61, 33)])
def test_metres_and_inverse_depth_at_the_size_of_the_picture(
    tmp_path: Path, hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3)).astype(np.uint8)
    metric = load(tiny_folders.depth_anything(tmp_path / "m", "metric"), "cpu").estimate(image)
    assert metric.kind == "metric"
    assert metric.z.shape == hw
    assert np.nanmax(metric.z) <= 20
    again = load(tmp_path / "m", "cpu").estimate(image)
    assert np.array_equal(metric.z, again.z, equal_nan=True)


def test_infinitely_far_is_measured_in_inverse_depth_and_not_in_metres(tmp_path: Path) -> None:
    model = load(tiny_folders.depth_anything(tmp_path / "r"), "cpu")

    class Sky:
        """Says 0 above and 1 below."""

        def post_process_depth_estimation(
            self, *_: object, **__: object
        ) -> list[dict[str, object]]:
            return [{"predicted_depth": model.network.head.conv3.weight.new_tensor([[0.0], [1.0]])}]

        def __call__(self, **_: object) -> object:
            return model.processor(images=np.zeros((56, 56, 3), np.uint8), return_tensors="pt")

    image = np.zeros((2, 1, 3), np.uint8)
    seen = {
        kind: type(model)(
            network=model.network, processor=Sky(), device=model.device, kind=kind
        ).estimate(image)
        for kind in ("inverse", "metric")
    }
    assert seen["inverse"].z.ravel().tolist() == pytest.approx([1e-6, 1])
    assert np.isnan(seen["metric"].z[0, 0])


def test_kinds_of_folders(tmp_path: Path) -> None:
    def kind(**config: str) -> str:
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").touch()
        return depth_kind(tmp_path)

    assert kind(model_type="zoedepth") == "metric"
    assert kind(model_type="depth_pro") == "metric"
    assert kind(model_type="dpt") == "inverse"
    assert kind(model_type="depth_anything") == "inverse"
    assert kind(model_type="depth_anything", depth_estimation_type="metric") == "metric"
    with pytest.raises(BackendError, match=r"must hold a depth network \(depth_anything, .*'clip'"):
        kind(model_type="clip")
    with pytest.raises(BackendError, match="expected the folder of a depth network, found none"):
        load(tmp_path / "nothing")


def test_a_network_that_sees_nothing_is_an_error_of_the_picture(tmp_path: Path) -> None:
    model = load(tiny_folders.depth_anything(tmp_path / "r"), "cpu")
    model.network.head.conv3.weight.data.zero_()
    model.network.head.conv3.bias.data.fill_(-1)
    with pytest.raises(InputError, match="must have a measured pixel"):
        model.estimate(np.zeros((56, 56, 3), np.uint8))

"""The program for accelerators, tried on the CPU; and what it may round."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu import measure_model
from uosam.backends.device import set_tf32


@pytest.mark.slow
def test_every_part_gives_its_row_as_it_goes() -> None:
    rows = measure_model(
        "tiny", "float32", "cpu", checkpoint=None, pictures=2, repeats=1, grid=2, workers=("1",)
    )
    first = next(rows)
    assert (first["part"], first["batch"]) == ("encoder", 1)
    found = [first, *rows]
    parts = [row["part"] for row in found]
    assert parts == ["encoder", "encoder", "embed", "stages", "everything", "folder", "folder"]
    assert all(row["model"] == "tiny" and row["tf32"] is False for row in found)
    assert {"embed", "prompts", "local_region"} <= found[3]["ms_a_picture"].keys()
    assert found[-1]["pictures_a_second"] > 0
    assert found[-1]["gpu_busy"] is None  # of the CPU nobody says


def test_tf32_is_a_choice_for_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    set_tf32(torch.device("cpu"), True)
    assert not said
    for allowed, word in ((True, "high"), (False, "highest")):
        set_tf32(torch.device("cuda"), allowed)
        assert said[-1] == word
        assert torch.backends.cudnn.allow_tf32 is allowed

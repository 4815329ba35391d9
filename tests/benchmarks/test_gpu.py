"""The program for accelerators, tried on the CPU; and what it may round."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from benchmarks.gpu import Amounts, measure_model, plan
from uosam.backends.device import set_tf32


@pytest.mark.slow
def test_every_part_gives_its_row_as_it_goes() -> None:
    amounts = Amounts(pictures=4, repeats=1, grid=2, folders=[(1, 1), (2, 2)], published=4)
    rows = measure_model("tiny", "float32", "cpu", checkpoint=None, amounts=amounts)
    first = next(rows)
    assert (first["part"], first["batch"]) == ("encoder", 1)
    found = [first, *rows]
    parts = ["encoder", "encoder", "embed", "stages", "proposals", "everything"]
    assert [row["part"] for row in found] == [*parts, "folder", "folder", "published"]
    assert all(row["model"] == "tiny" and row["tf32"] is False for row in found)
    assert {"embed", "prompts", "local_region"} <= found[3]["ms_a_picture"].keys()
    assert found[4]["ms_a_picture"]["global_region"] > found[3]["ms_a_picture"]["global_region"]
    for row in found[6:8]:
        assert row["pictures_a_second"] > 0
        assert row["gpu_busy"] is None  # of the CPU nobody says
    assert found[8]["times_slower"] > 1


def test_what_the_aims_are_about_is_measured_first() -> None:
    found = plan(("tiny", "vit_h"), 200, 16)
    names = [(name, precision) for name, precision, _ in found]
    assert names[:2] == [("tiny", "float32"), ("vit_h", "bfloat16")]
    assert sorted(names) == sorted(product(("tiny", "vit_h"), ("float32", "bfloat16")))
    assert (16, 1) in found[0][2].folders
    assert found[0][2].published % 4 == 0
    assert found[1][2].grid ** 2 == 324


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

"""The comparison of networks runs on small ones, and its rows hold both sides."""

import pytest

from benchmarks import decoder
from tests.small_sam import build_small_sam


@pytest.mark.parametrize(
    ("part", "precision"), [*((part, "float32") for part in decoder.PARTS), ("decoder", "bfloat16")]
)
def test_a_row_holds_both_sides(monkeypatch, part, precision):
    monkeypatch.setattr(decoder, "BUILDERS", {"small": build_small_sam})
    monkeypatch.setattr(decoder, "MASKED", 1)
    monkeypatch.setattr(decoder, "_SECONDS", 0.0)  # a single run
    settings = {"batches": (1, 2)} if part == "decoder" else {}
    row = decoder.measure(part, "small", precision, **settings)
    assert {"commit", "cpu", "torch", "threads", "model", "precision"} <= set(row)
    for entry in row["result"]:
        assert entry["ratio"] > 0
        assert entry["package"]["ms"] > 0
        if precision == "float32":
            assert entry["sign_flips"] == 0


@pytest.mark.slow  # compiles for half a minute
def test_the_compiled_encoder_has_an_entry_of_its_own(monkeypatch):
    monkeypatch.setattr(decoder, "BUILDERS", {"small": build_small_sam})
    monkeypatch.setattr(decoder, "_SECONDS", 0.0)
    (entry,) = decoder.measure("encoder", "small", "float32", compiled=True)["result"]
    assert entry["compiled_ratio"] > 0
    assert entry["compiling_seconds"] > 0
    assert entry["compiled_difference"]["largest_difference"] < 1e-4

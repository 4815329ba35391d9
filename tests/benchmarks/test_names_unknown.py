"""Clusters put together from regions are named, and limits leave out what they should."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.names_unknown import DRAWS, Seen, draw_clusters, table, told

NAMES, IDS = ("cat", "dog"), {"cat": 8, "dog": 12}


@pytest.fixture
def seen() -> list[Seen]:
    """Six sure regions of cats, and six of dogs that are taken for cats, hardly."""
    rows = [(8, 0.9)] * 6 + [(12, 0.55)] * 6
    return [
        Seen(
            picture=f"{number}",
            label=truth,
            truth=truth,
            share=0.1,
            names=np.array([chance, 1 - chance], np.float32),
        )
        for number, (truth, chance) in enumerate(rows)
    ]


def test_limits_leave_out_what_is_hardly_ahead(seen: list[Seen]) -> None:
    clusters = draw_clusters(seen, NAMES, IDS)
    # Of one region; of 2, 3 and 5 pure or mixed; 10 mixed: for both ids.
    assert {(one.size, one.purity) for one in clusters} == {
        (1, 1.0), *((size, purity) for size in (2, 3, 5) for purity in (1.0, 0.6)), (10, 0.6),
    }  # fmt: skip
    assert len(clusters) == 2 * 8 * DRAWS
    single = [one for one in clusters if one.size == 1]
    assert told(single, 0, 0, 1) == {"named": 100.0, "right": 50.0}
    assert told(single, 0, 0.2, 1) == {"named": 50.0, "right": 100.0}
    assert told(single, 0, 0, 2)["named"] == 0.0
    assert np.isnan(told(single, 0, 0, 2)["right"])
    again = draw_clusters(seen, NAMES, IDS)
    assert [one.name for one in again] == [one.name for one in clusters]


def test_the_table_has_every_pair_of_limits(seen: list[Seen]) -> None:
    found = table(draw_clusters(seen, NAMES, IDS))
    assert found["limits"]["share 0, margin 0"]["named"] == 100.0
    named = [
        row["named"] for limits, row in found["limits"].items() if limits.startswith("share 0,")
    ]
    assert named == sorted(named, reverse=True)
    assert found["by size"]["1"]["right"] == 50.0
    assert found["least regions"]["3"]["named"] < found["least regions"]["1"]["named"]

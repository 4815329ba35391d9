"""Names are what the regions of a cluster vote for, or "unknown"."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uosam.errors import ConfigError
from uosam.regions.naming import (
    UNKNOWN,
    Name,
    NamingOptions,
    decide,
    dominant,
    name_clusters,
    name_regions,
    probabilities,
    similarities,
)

SURE = NamingOptions(min_share=0, min_margin=0, min_regions=1)


def votes(
    rows: list[list[float]], labels: list[int], options: NamingOptions = SURE
) -> dict[int, Name]:
    found = np.array(rows)
    shares = np.full(len(rows), 0.25)
    pictures = [str(number // 2) for number in range(len(rows))]
    names = ["cat", "dog", "cow"][: found.shape[1]]
    return name_clusters(found, np.array(labels), shares, pictures, names, options)


@pytest.mark.parametrize("debias", [0.0, 1.0])
@pytest.mark.parametrize("weight", ["sqrt", "equal"])
def test_the_worked_example(shared: Path, debias: float, weight: str) -> None:
    golden = json.loads((shared / "golden/ssa/cluster_votes.json").read_text())
    labels = np.array(golden["cluster_of_region"])
    shares = np.array(golden["area_share"]) if weight == "sqrt" else np.ones(len(labels))
    found = probabilities(np.array(golden["cosine"]), labels, scale=golden["scale"], debias=debias)
    expected = golden["results"][f"debias={debias},weight={weight}"]
    pictures = [str(number) for number in range(len(labels))]
    names = name_clusters(found, labels, shares, pictures, golden["vocabulary"], NamingOptions())
    assert list(names) == [row["id"] for row in expected["independent"]]
    for row in expected["independent"]:
        name = names[row["id"]]
        assert (name.text, name.runner_up, name.regions) == (
            row["name"],
            row["runner_up"],
            row["regions"],
        )
        for key in ("score", "margin", "share"):
            assert getattr(name, key) == pytest.approx(row[key], abs=1e-6)
    paired = name_clusters(
        found, labels, shares, pictures, golden["vocabulary"], NamingOptions(assign="one-to-one")
    )
    best = {str(label): name.text for label, name in paired.items() if name.text != UNKNOWN}
    assert best.items() <= expected["one_to_one"].items()
    free = NamingOptions(assign="one-to-one", min_share=0)
    paired = name_clusters(found, labels, shares, pictures, golden["vocabulary"], free)
    assert {str(label): name.text for label, name in paired.items()} == expected["one_to_one"]


def test_a_name_has_its_best_word_or_the_mean_of_its_words() -> None:
    images = np.log(np.array([[0.2, 0.3, 0.5]]))
    words = np.eye(3)
    best = np.exp(similarities(images, words, [0, 0, 1]))
    np.testing.assert_allclose(best, [[0.3, 0.5]])
    mean = np.exp(similarities(images, words, [0, 0, 1], exclusive=True))
    np.testing.assert_allclose(mean, [[0.25, 0.5]])


def test_of_equal_names_the_earlier_wins() -> None:
    assert votes([[0.5, 0.5], [0.5, 0.5]], [4, 4])[4].text == "cat"


def test_large_regions_count_more() -> None:
    found = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    shares = np.array([0.81, 0.01, 0.01])
    name = name_clusters(found, np.zeros(3, int), shares, ["a"] * 3, ["cat", "dog"], SURE)[0]
    assert (name.text, name.pictures, name.regions) == ("cat", 1, 3)
    assert name.share == pytest.approx(0.9 / 1.1)
    assert name.score == pytest.approx((0.9 * 0.9 + 0.2 * 0.2) / 1.1)
    assert name.best == (("cat", name.score), ("dog", pytest.approx(1 - name.score)))


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        ([[0.9, 0.1]] * 2, {"min_regions": 3}),
        ([[0.505, 0.495]] * 3, {"min_margin": 0.02}),
        # No region alone finds a cat, all of them together do.
        ([[0.4, 0.6, 0.0], [0.4, 0.0, 0.6]], {"min_share": 0.25}),
    ],
)
def test_what_is_not_sure_is_unknown(rows: list[list[float]], least: dict[str, float]) -> None:
    loose = dict.fromkeys(("min_share", "min_margin", "min_regions"), 0)
    [strict] = votes(rows, [0] * len(rows), NamingOptions(**loose | least)).values()
    [free] = votes(rows, [0] * len(rows), NamingOptions(**loose)).values()
    assert (strict.text, free.text) == (UNKNOWN, "cat")
    assert strict.best == free.best


def test_one_to_one_gives_the_second_name_and_needs_enough() -> None:
    paired = NamingOptions(assign="one-to-one", min_share=0, min_regions=1)
    rows = [[0.8, 0.2], [0.6, 0.4]]
    assert [name.text for name in votes(rows, [0, 1], paired).values()] == ["cat", "dog"]
    assert votes(rows, [0, 1], paired)[1].margin == pytest.approx(-0.2)
    with pytest.raises(ConfigError, match="each of 3 ids, got 2 names"):
        votes([*rows, [0.5, 0.5]], [0, 1, 2], paired)


def test_regions_have_names_of_their_own() -> None:
    found = np.array([[0.7, 0.3], [0.505, 0.495], [0.1, 0.9]])
    names = name_regions(found, ["cat", "dog"], NamingOptions())
    assert [name.text for name in names] == ["cat", UNKNOWN, "dog"]
    assert names[1].best[0][0] == "cat"
    [alone] = name_regions(np.ones((1, 1)), ["cat"], NamingOptions())
    assert (alone.text, alone.margin, alone.runner_up) == ("cat", 1.0, "")


def test_a_name_that_most_clusters_have_is_told() -> None:
    rows = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]
    assert dominant(votes(rows, [0, 1, 2])) == "cat"
    assert dominant(votes(rows, [0, 1, 1])) is None
    assert dominant({}) is None


def test_a_segmenter_decides_only_where_it_is_sure() -> None:
    [name] = name_regions(np.array([[0.6, 0.4]]), ["cat", "dog"], NamingOptions())
    mask = np.array([[True] * 5 + [False] * 5])
    logits = np.zeros((2, 1, 10))
    logits[1, 0, 2:] = 1  # 3 of 5 pixels of the region
    assert decide(name, logits, mask).text == "dog"
    assert decide(name, logits, mask).best == name.best
    logits[1, 0, 2:4] = 0  # 1 of 5: the first name wins as well
    assert decide(name, logits, mask) == name
    mask[0, 4] = False
    logits[1, 0, 2:4] = 1  # half of them
    assert decide(name, logits, mask) is name


@pytest.mark.parametrize(
    ("key", "value"),
    [("debias", 2.0), ("min_share", -0.1), ("min_margin", 1.5), ("assign", "all")],
)
def test_settings_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"naming.{key} must be"):
        NamingOptions(**{key: value})  # type: ignore[arg-type]

"""Scores of phrases against recorded numbers of the COCO caption evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uosam.errors import InputError
from uosam.metrics.captions import bleu, cider_d, score_captions, tokenize


def test_scores_are_those_of_the_public_evaluation(shared: Path) -> None:
    golden = json.loads((shared / "golden/sca/metrics.json").read_text())
    items = golden["items"]
    for item in items:
        assert " ".join(tokenize(item["candidate"])) == item["candidate_tokens"]
        assert [" ".join(tokenize(t)) for t in item["references"]] == item["reference_tokens"]
    found = score_captions([i["candidate"] for i in items], [i["references"] for i in items])
    assert found.cider_d_each == pytest.approx([i["cider_d"] for i in items], abs=1e-9)
    assert found.rouge_l_each == pytest.approx([i["rouge_l"] for i in items], abs=1e-9)
    for item in items:
        words = item["candidate_tokens"].split()
        others = [text.split() for text in item["reference_tokens"]]
        assert bleu([words], [others]) == pytest.approx(item["bleu"], abs=1e-9)
    whole = golden["corpus"]
    assert found.bleu == pytest.approx(whole["bleu"], abs=1e-9)
    assert found.cider_d == pytest.approx(whole["cider_d"], abs=1e-9)
    assert found.rouge_l == pytest.approx(whole["rouge_l"], abs=1e-9)


def test_a_phrase_that_is_its_reference_is_as_good_as_can_be() -> None:
    found = score_captions(["a red car on grass", "two dogs in the snow"],
                           [["a red car on grass"], ["two dogs in the snow"]])  # fmt: skip
    assert found.cider_d == pytest.approx(10)
    assert found.rouge_l == pytest.approx(1)
    assert found.bleu[3] == pytest.approx(1)


def test_an_empty_phrase_scores_nothing() -> None:
    found = score_captions(["", "a dog"], [["a cat"], ["a dog"]])
    assert (found.cider_d_each[0], found.rouge_l_each[0]) == (0, 0)
    assert score_captions([""], [["a cat"]]).bleu == (0, 0, 0, 0)


def test_rare_words_count_more() -> None:
    references = [[["a", "dog"]], [["a", "cat"]], [["a", "gnu"]]]
    common, rare = cider_d([["a"], ["cat"], []], references)[:2]
    assert common == 0 < rare


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="at least one, got 0 candidates and 0 lists"):
        score_captions([], [])
    with pytest.raises(InputError, match="caption 1 has no reference"):
        score_captions(["a", "b"], [["a"], []])

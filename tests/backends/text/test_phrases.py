"""Noun phrases of captions: spaCy finds them, and what is missing is told in one line."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from uosam.backends.text import phrases
from uosam.errors import ConfigError
from uosam.structures import Caption, Image, Masks


class Says:
    """A captioner that says one sentence of every region."""

    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        return [Caption(text="A red car by the tree and a red car") for _ in masks]


def spacy(error: Exception | None = None, *, parser: bool = True) -> types.ModuleType:
    """Return a stand-in for spaCy, whose pipeline splits at "by" and "and"."""

    class Document:
        def __init__(self, text: str) -> None:
            self.text = text

        @property
        def noun_chunks(self) -> list[types.SimpleNamespace]:
            if not parser:
                raise ValueError("[E029] noun_chunks requires the dependency parse")
            parts = self.text.replace(" and ", " by ").split(" by ")
            return [types.SimpleNamespace(text=part) for part in parts]

    module = types.ModuleType("spacy")

    def load(name: str) -> object:
        if error:
            raise error
        assert name == "en_core_web_sm"
        return Document

    module.load = load  # type: ignore[attr-defined]
    return module


def test_phrases_are_plain_and_each_once() -> None:
    finder = phrases.NounPhrases(captioner=Says(), parse=spacy().load("en_core_web_sm"))
    found = finder.find(np.zeros((4, 4, 3), np.uint8), np.ones((2, 4, 4), bool))
    assert found == [("red car", "tree")] * 2


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "spacy", spacy(OSError("[E050] Can't find model")))
    with pytest.raises(ConfigError, match="python -m spacy download en_core_web_sm"):
        phrases.load(str(tmp_path))
    blank = phrases.NounPhrases(captioner=Says(), parse=spacy(parser=False).load("en_core_web_sm"))
    with pytest.raises(ConfigError, match="a pipeline with a parser, got"):
        blank.find(np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), bool))


def test_without_spacy_captions_are_found_whole(
    monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    finder = phrases.NounPhrases(captioner=Says(), parse=None)
    assert finder.whole_captions
    found = finder.find(np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), bool))
    assert found == [("A red car by the tree and a red car",)]
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert phrases.load(str(shared / "golden/ssa/models/blip"), device="cpu").whole_captions


def test_a_folder_of_blip_is_the_captioner(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setitem(sys.modules, "spacy", spacy())
    finder = phrases.load(str(shared / "golden/ssa/models/blip"), device="cpu")
    picture = np.full((40, 40, 3), 90, np.uint8)
    [found] = finder.find(picture, np.ones((1, 40, 40), bool))
    assert all(phrase == phrases.plain(phrase) for phrase in found)

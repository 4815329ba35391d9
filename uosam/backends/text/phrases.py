"""Noun phrases of what a captioner says of regions: SSA-engine's source of open words.

Chen, Yang and Zhang, "Semantic Segment Anything", 2023, which also takes spaCy's noun chunks.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from uosam.backends.text.captioners import CaptionerOptions, load_captioner
from uosam.errors import ConfigError
from uosam.structures import Captioner, Image, Masks

PIPELINE = "en_core_web_sm"
"""The English pipeline of spaCy that is looked for; 13 MB, MIT."""

_ARTICLES = ("a", "an", "the")


@dataclass(frozen=True, eq=False, kw_only=True)
class NounPhrases:
    """Puts regions into words, and keeps the noun phrases.

    Attributes:
        captioner: of regions.
        parse: spaCy's pipeline: from a text to a document with ``noun_chunks``; None without it:
            whole captions are found then, in which one may look for words that are known.
    """

    captioner: Captioner
    parse: Any | None

    @property
    def whole_captions(self) -> bool:
        """Whether captions are found, and no phrases of them."""
        return self.parse is None

    def find(self, image: Image, masks: Masks) -> list[tuple[str, ...]]:
        """Return the noun phrases of each of (M, H, W) masks, plain and each once, or its caption.

        Raises:
            ConfigError: the pipeline finds no noun phrases.
        """
        found: list[tuple[str, ...]] = []
        for caption in self.captioner.caption(image, masks):
            if self.parse is None:
                found.append((caption.text,))
                continue
            try:
                chunks = [plain(chunk.text) for chunk in self.parse(caption.text).noun_chunks]
            except ValueError as error:  # E029: a pipeline without a parser
                raise ConfigError(
                    f"noun phrases need a pipeline with a parser, got {error}; get one with python "
                    f"-m spacy download {PIPELINE}"
                ) from error
            found.append(tuple(dict.fromkeys(chunk for chunk in chunks if chunk)))
        return found


def plain(phrase: str) -> str:
    """Return a phrase in small letters, without a leading article.

    >>> plain("The  red Car")
    'red car'
    """
    words = phrase.casefold().split()
    return " ".join(words[1:] if words and words[0] in _ARTICLES else words)


def load(folder: str, *, pipeline: str = PIPELINE, device: str = "auto") -> NounPhrases:
    """Load a captioner of crops, and spaCy's pipeline if spaCy is installed.

    Args:
        folder: image-to-text model as ``save_pretrained`` writes it.
        pipeline: name of an installed pipeline of spaCy, or its folder.
        device: "auto" or a torch device.

    Raises:
        ConfigError: spaCy is installed and its pipeline is not.
        BackendError: the folder is missing, wrong or damaged.
    """
    parse: Any | None = None
    try:
        parse = importlib.import_module("spacy").load(pipeline)
    except ImportError:
        pass
    except OSError as error:  # E050
        raise ConfigError(
            f"noun phrases need spaCy's pipeline {pipeline}, which is not installed; get it with "
            f"python -m spacy download {PIPELINE}"
        ) from error
    options = CaptionerOptions(name="crop", checkpoint=folder, device=device)
    return NounPhrases(captioner=load_captioner(options), parse=parse)

"""Scores of phrases against reference phrases: CIDEr-D, ROUGE-L, BLEU, and their tokenizer.

Vedantam et al., "CIDEr", 2015; Lin, "ROUGE", 2004; Papineni et al., "BLEU", 2002; with the choices
of the COCO caption evaluation, whose numbers these equal. METEOR and SPICE need Java and data of
their own and are not written here under those names.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uosam.errors import InputError

ORDERS = (1, 2, 3, 4)
"""Lengths of the runs of words that are compared."""

_SIGMA = 6.0  # of CIDEr-D's penalty for another length
_BETA = 1.2  # of ROUGE-L: how much more recall counts
_DROPPED = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
_TOKEN = re.compile(
    r"\d+(?::\d+)+"  # a time stays whole
    r"|\d+(?:[.,]\d+)+"
    r"|'(?:s|m|d|re|ve|ll)\b"
    r"|n't\b"
    r"|(?:(?!n't\b)[\w])+(?:-\w+)*"
    r"|\.\.\.|--|``|''"
    r"|[^\w\s]"
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

Counts = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """Scores of N captions.

    Attributes:
        cider_d: mean CIDEr-D, 0 to 10; papers print it times 100.
        rouge_l: mean ROUGE-L in [0, 1].
        bleu: BLEU-1 to BLEU-4 of the whole set, in [0, 1].
        cider_d_each: (N,) CIDEr-D of each caption; depends on the whole set.
        rouge_l_each: (N,) ROUGE-L of each caption.
    """

    cider_d: float
    rouge_l: float
    bleu: tuple[float, ...]
    cider_d_each: tuple[float, ...]
    rouge_l_each: tuple[float, ...]


def tokenize(text: str) -> list[str]:
    """Split a phrase as the Penn Treebank does, in small letters, punctuation dropped.

    >>> tokenize("The man's side-walk (at 10:30), isn't it?")
    ['the', 'man', "'s", 'side-walk', '-lrb-', 'at', '10:30', '-rrb-', 'is', "n't", 'it']
    """
    found = _TOKEN.findall(text.lower().replace('"', " '' "))
    return [_BRACKETS.get(token, token) for token in found if token not in _DROPPED]


def score_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one candidate for each region against its references.

    Args:
        candidates: N phrases; an empty one scores 0 in all.
        references: for each of them at least one phrase.

    Raises:
        InputError: there are no candidates, as many references as candidates are not there, or a
            region has none.
    """
    if not candidates or len(candidates) != len(references):
        raise InputError(
            f"expected as many lists of references as candidates, and at least one, got "
            f"{len(candidates)} candidates and {len(references)} lists"
        )
    for number, group in enumerate(references):
        if not group:
            raise InputError(f"caption {number} has no reference; leave it out of both lists")
    words = [tokenize(text) for text in candidates]
    others = [[tokenize(text) for text in group] for group in references]
    cider, rouge = (
        cider_d(words, others),
        [rouge_l(w, o) for w, o in zip(words, others, strict=True)],
    )
    return CaptionScores(
        cider_d=float(np.mean(cider)),
        rouge_l=float(np.mean(rouge)),
        bleu=bleu(words, others),
        cider_d_each=tuple(cider),
        rouge_l_each=tuple(rouge),
    )


def _runs(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def cider_d(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> list[float]:
    """Return CIDEr-D of each candidate, 0 to 10; rare runs of words in the references count more.

    Args:
        candidates: N lists of tokens.
        references: for each of them lists of tokens.
    """
    total = math.log(len(references))
    scores = np.zeros(len(candidates))
    for order in ORDERS:
        documents: Counter[tuple[str, ...]] = Counter()
        for group in references:
            documents.update({run for words in group for run in _runs(words, order)})

        def weigh(
            words: Sequence[str], order: int, documents: Counts
        ) -> dict[tuple[str, ...], float]:
            return {
                run: count * (total - math.log(max(1, documents[run])))
                for run, count in _runs(words, order).items()
            }

        for index, (words, group) in enumerate(zip(candidates, references, strict=True)):
            ours = weigh(words, order, documents)
            own = math.sqrt(sum(value**2 for value in ours.values()))
            for other in group:
                theirs = weigh(other, order, documents)
                norm = own * math.sqrt(sum(value**2 for value in theirs.values()))
                shared = sum(min(value, theirs.get(run, 0.0)) * theirs.get(run, 0.0)
                             for run, value in ours.items())  # fmt: skip
                # Lengths are those of the runs of two words, as in the public code.
                delta = max(0, len(words) - 1) - max(0, len(other) - 1)
                penalty = math.exp(-(delta**2) / (2 * _SIGMA**2))
                if norm:
                    scores[index] += shared / norm * penalty / len(group)
    return [float(score) for score in 10.0 * scores / len(ORDERS)]


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return ROUGE-L in [0, 1]: precision and recall of the longest common subsequence.

    >>> round(rouge_l("a b c".split(), ["a c".split()]), 4)
    0.8299
    """
    if not candidate:
        return 0.0
    common = [_common(candidate, words) for words in references]
    precision = max(length / len(candidate) for length in common)
    recall = max(
        length / len(words) if words else 0.0
        for length, words in zip(common, references, strict=True)
    )
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def bleu(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[float, ...]:
    """Return BLEU-1 to BLEU-4 of the whole set, in [0, 1].

    The reference length of a candidate is that of its closest reference, the shorter one of two.
    """
    right, tried = np.zeros(len(ORDERS)), np.zeros(len(ORDERS))
    length = wanted = 0
    for words, group in zip(candidates, references, strict=True):
        length += len(words)
        wanted += min((abs(len(other) - len(words)), len(other)) for other in group)[1]
        for index, order in enumerate(ORDERS):
            ours = _runs(words, order)
            most: Counter[tuple[str, ...]] = Counter()
            for other in group:
                most |= _runs(other, order)
            right[index] += sum((ours & most).values())
            tried[index] += sum(ours.values())
    if not length:
        return (0.0,) * len(ORDERS)
    # The public code's constants against division by zero, without which sets of single short
    # phrases would score 0 instead of almost 0.
    shares = np.log((right + 1e-15) / (tried + 1e-9))
    means = np.exp(np.cumsum(shares) / np.array(ORDERS))
    ratio = (length + 1e-15) / (wanted + 1e-9)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return tuple((means * brevity).tolist())

"""METEOR by the program of its authors, where Java and the package that ships it are there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from uosam.errors import ConfigError
from uosam.metrics.captions import tokenize


def meteor(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """Score phrases by METEOR 1.5 as the COCO caption evaluation calls it.

    Args:
        candidates: N phrases.
        references: for each any number of references, at least one.

    Returns:
        The score of all together, and of each, in [0, 1].

    Raises:
        ConfigError: Java or the package ``pycocoevalcap`` is missing.
    """
    if shutil.which("java") is None:
        raise ConfigError("METEOR is a Java program, found no java; install Java, or leave it out")
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ImportError as error:
        raise ConfigError(
            "METEOR comes with the package pycocoevalcap, found none; pip install pycocoevalcap, "
            "or leave it out"
        ) from error
    given = {i: [" ".join(tokenize(text))] for i, text in enumerate(candidates)}
    known = {i: [" ".join(tokenize(t)) for t in texts] for i, texts in enumerate(references)}
    scorer = Meteor()
    try:
        whole, each = scorer.compute_score(known, given)
    finally:  # the package leaves its Java process and three pipes to the collector
        scorer.meteor_p.kill()
        for pipe in (scorer.meteor_p.stdin, scorer.meteor_p.stdout, scorer.meteor_p.stderr):
            pipe.close()
        scorer.meteor_p.wait()
    return float(whole), [float(score) for score in each]

"""Name the clusters or the regions of a folder, from what the task of ``looking.py`` wrote."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from uosam.backends.text.models import load_image_text
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import Entry, Vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.pairs import Pairs
from uosam.io.stores.mounts import at_hand, is_there, remove
from uosam.regions.crops import draw_lots
from uosam.regions.naming import (
    Name,
    NamingOptions,
    dominant,
    name_clusters,
    name_regions,
    probabilities,
    similarities,
)
from uosam.regions.tables import read_csv, read_names, write_csv, write_json
from uosam.runs.naming.looking import NameTask, embed_folder, read_embedded
from uosam.runs.naming.parts import NameOptions
from uosam.runs.naming.regions import (
    Looked,
    decide_regions,
    without_mask,
    write_file,
    write_regions,
)
from uosam.runs.naming.words import Phrases, learn_words
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Outcome
from uosam.structures import Floats, ImageText, Sample, TextSegmenter


@dataclass(frozen=True, eq=False, kw_only=True)
class Words:
    """A vocabulary as a model can be asked for it.

    Attributes:
        names: that the model can give, in the order of the vocabulary.
        texts: (W, D) embeddings of all their words.
        owner: (W,) index of the name that a word belongs to.
        lacking: names that the model has no word for.
    """

    names: tuple[str, ...]
    texts: Floats
    owner: tuple[int, ...]
    lacking: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Named:
    """What came of a run.

    Attributes:
        run: figures of looking at the pictures.
        clusters: name by id; empty where each region got its own.
        regions: what was looked at.
        own: name of each region, where each got its own.
        found: (N, V) probabilities of the regions over the names.
        words: the vocabulary as the model was asked for it.
        notes: lines that a person should read.
    """

    run: Run
    clusters: Mapping[int, Name] = field(default_factory=dict)
    regions: Sequence[Looked]
    own: Sequence[Name] = ()
    found: Floats
    words: Words
    notes: tuple[str, ...]


def ask_for(vocabulary: Vocabulary, model: ImageText) -> Words:
    """Embed the words of a vocabulary, each once.

    A model with a closed list of words is asked for the synsets of each name.
    """

    def words_of(entry: Entry) -> Sequence[str]:
        return entry.synsets if model.exclusive else entry.words

    able = [entry for entry in vocabulary.entries if words_of(entry)]
    return Words(
        names=tuple(entry.name for entry in able),
        texts=model.embed_texts([word for entry in able for word in words_of(entry)]),
        owner=tuple(index for index, entry in enumerate(able) for _ in words_of(entry)),
        lacking=tuple(entry.name for entry in vocabulary.entries if not words_of(entry)),
    )


def check_choice(vocabulary: Vocabulary, *, closed: bool) -> None:
    """Refuse a vocabulary that leaves nothing to choose, before an hour of looking at pictures.

    Args:
        vocabulary: the names there are.
        closed: whether the model knows the classes of ImageNet alone.

    Raises:
        ConfigError: fewer than two names have a word that the model knows.
    """
    able = [entry.name for entry in vocabulary.entries if entry.synsets or not closed]
    if closed and not able:
        raise ConfigError(
            "an ImageNet model gives names that ImageNet has classes for, got a vocabulary "
            f"without any ({', '.join(vocabulary.names[:3])}, ...); add classes as synonyms "
            "('cat; tabby'), or give --checkpoint FOLDER of a CLIP or SigLIP"
        )
    if len(able) < 2:
        raise ConfigError(
            f"a name is chosen among two or more, got one that the model has a word for ({able[0]})"
            + ("; add classes of ImageNet as synonyms ('cat; tabby')" if closed else "; add names")
        )


def name_folder(
    pairs: Pairs,
    out: Path,
    vocabulary: Vocabulary,
    options: NameOptions,
    naming: NamingOptions,
    *,
    style: Literal["coco", "ssa"] = "coco",
    decider: Callable[[], TextSegmenter] | None = None,
    phrases: Callable[[], Phrases] | None = None,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Named:
    """Look at the regions of every pair, and write what they are called into ``out``.

    Of clusters: ``names.csv`` and ``names.json``. Of regions: ``names.json`` as a COCO data set, or
    an SSA file a picture below ``ssa``.

    Args:
        pairs: samples with picture and mask, and what found no partner.
        out: folder of the run.
        vocabulary: the names there are.
        options: what is looked at.
        naming: when a name counts.
        style: of the files about regions.
        decider: loads a text segmenter that decides between the best names of each region.
        phrases: loads what lets captions of the regions add to the names or choose among them.
        inputs: folders that must not be written into.
        spread: where pictures are looked at; names are voted on here, so all of them.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds results of other settings, or the vocabulary has too few names
            or none that the model knows.
        InputError: no region is there to be named, or ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    check_choice(vocabulary, closed=options.text.name == "imagenet")
    run = embed_folder(pairs, out, options, inputs=inputs, spread=spread, on_outcome=on_outcome)
    model = load_image_text(options.text, tuple(synset_names()))
    task = NameTask(folder=out, options=options)
    heard: tuple[str, ...] = ()
    if phrases is not None:
        seen = [looked for found in _stored(task, pairs.samples) for looked in found[1]]
        vocabulary, heard = learn_words(vocabulary, phrases(), seen, pairs.samples, model)
    words = ask_for(vocabulary, model)
    regions, similar = _compare(task, pairs.samples, words, model)
    if options.by == "clusters" and options.per_id:
        # An earlier run may have looked at more.
        light = [without_mask(region) for region in regions]
        drawn = {id(region) for region in draw_lots(light, options.per_id)}
        kept = [index for index, region in enumerate(light) if id(region) in drawn]
        regions, similar = [regions[index] for index in kept], similar[kept]
    if not regions:
        raise InputError(
            f"no id of {len(pairs.samples)} masks has a part of {options.min_area:.1%} of its "
            "picture, so there is nothing to name; lower --min-area, or give --background none if "
            "id 0 is a class"
        )
    labels = np.array([region.label for region in regions])
    found = probabilities(similar, labels, scale=model.scale, debias=naming.debias)
    notes = [*heard, *(f"{name}: the model has no word for it" for name in words.lacking)]
    if options.by != "clusters":
        own = name_regions(found, words.names, naming)
        if decider is not None:
            own = decide_regions(decider(), regions, own, pairs.samples)
        write_regions(out, pairs.samples, regions, own, words.names, options, style)
        return Named(
            run=run, regions=regions, own=own, found=found, words=words, notes=tuple(notes)
        )
    shares = np.array([region.facts["share"] for region in regions], np.float32)
    pictures = [region.picture for region in regions]
    clusters = name_clusters(found, labels, shares, pictures, words.names, naming)
    if most := dominant(clusters):
        notes.append(
            f"{most}: more than half of the ids have this name; if that cannot be, try "
            "--debias 1 or more names"
        )
    facts = {"made_by": task.header(), "notes": notes}
    if edited := keep_edited(out):
        notes.append(f"names.csv had been edited; as it was it is {edited} now")
        facts = {**facts, "notes": notes}
    write_file(out / "names.csv", write_csv(clusters))
    write_file(out / "names.json", write_json(clusters, vocabulary.names, facts))
    return Named(
        run=run,
        clusters=clusters,
        regions=regions,
        found=found,
        words=words,
        notes=tuple(notes),
    )


def keep_edited(out: Path) -> str | None:
    """Give a table of names another name if somebody has changed it since it was written.

    Returns:
        The file it is now, in ``out``, or None if there is none or nobody did.
    """
    table, facts = out / "names.csv", out / "names.json"
    with at_hand(table, facts):
        if not table.is_file():
            return None
        edited = table.read_bytes()
        with contextlib.suppress(InputError, OSError):
            if read_csv(edited, str(table)) == read_names(facts.read_bytes(), str(table)):
                return None
        number = itertools.count(1)
        while is_there(other := out / f"names.edited-{next(number)}.csv"):
            pass
        write_file(other, edited)
        remove(table)
    return other.name


def tell(named: Named, table: Path, most: int = 40) -> list[str]:
    """Put what was named into lines of text: notes, then each cluster, or counts of regions.

    Args:
        named: what came of a run.
        table: where the rest is to be read.
        most: clusters to list.
    """
    lines = [f"note: {note}" for note in named.notes]
    for label, name in list(named.clusters.items())[:most]:
        best = ", ".join(f"{text} {score:.2f}" for text, score in name.best[:3])
        lines.append(f"{label:6d}  {name.text:<20} ({best}; {name.regions} regions)")
    if len(named.clusters) > most:
        lines.append(f"and {len(named.clusters) - most} more in {table}")
    counts = Counter(name.text for name in named.own).most_common(most)
    return lines + [f"{count:6d}  {text}" for text, count in counts]


def _compare(
    task: NameTask, samples: Sequence[Sample], words: Words, model: ImageText
) -> tuple[list[Looked], Floats]:
    """Compare every region with every name; of the embeddings only one picture's are held."""
    regions: list[Looked] = []
    rows: list[Floats] = [np.zeros((0, len(words.names)), np.float32)]
    for embeddings, found in _stored(task, samples):
        if found:
            regions += found
            rows.append(
                similarities(embeddings, words.texts, words.owner, exclusive=model.exclusive)
            )
    return regions, np.concatenate(rows)


def _stored(task: NameTask, samples: Sequence[Sample]) -> Iterator[tuple[Floats, list[Looked]]]:
    """Yield what is stored of each sample; one that failed has nothing."""
    for sample in samples:
        path = task.output(sample)
        with at_hand(path):
            if not path.is_file():
                continue
            embeddings, facts = read_embedded(path)
        size = (int(facts["size"][0]), int(facts["size"][1]))
        yield (
            embeddings,
            [
                Looked(picture=sample.name, label=fact["label"], facts=fact, size=size)
                for fact in facts["regions"]
            ],
        )

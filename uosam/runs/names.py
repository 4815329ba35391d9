"""Name the clusters or the regions of a folder, from what the task of ``name.py`` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uosam.backends.text.models import load_image_text
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import Entry, Vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.pairs import Pairs
from uosam.regions.crops import Region, draw_lots
from uosam.regions.naming import (
    Name,
    NamingOptions,
    dominant,
    name_clusters,
    name_regions,
    probabilities,
    similarities,
)
from uosam.regions.records import Record, coco_document, write_ssa
from uosam.regions.tables import write_csv, write_json
from uosam.runs.name import NameTask, embed_folder, read_embedded
from uosam.runs.parts import NameOptions, part_of
from uosam.runs.summary import Run
from uosam.runs.task import Outcome
from uosam.structures import Floats, ImageText, Sample


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
class Looked:
    """One region as the vote sees it.

    Attributes:
        picture: name of the sample.
        label: id in the map.
        facts: as the task wrote them: component, box, share, segmentation.
        size: (H, W) of the picture.
    """

    picture: str
    label: int
    facts: Mapping[str, Any]
    size: tuple[int, int]


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

    Raises:
        ConfigError: the model knows none of the names.
    """

    def words_of(entry: Entry) -> Sequence[str]:
        return entry.synsets if model.exclusive else entry.words

    able = [entry for entry in vocabulary.entries if words_of(entry)]
    if not able:
        raise ConfigError(
            "an ImageNet model gives names that ImageNet has classes for, got a vocabulary "
            f"without any ({', '.join(vocabulary.names[:3])}, ...); add classes as synonyms "
            "('cat; tabby'), or give --checkpoint FOLDER of a CLIP or SigLIP"
        )
    return Words(
        names=tuple(entry.name for entry in able),
        texts=model.embed_texts([word for entry in able for word in words_of(entry)]),
        owner=tuple(index for index, entry in enumerate(able) for _ in words_of(entry)),
        lacking=tuple(entry.name for entry in vocabulary.entries if not words_of(entry)),
    )


def name_folder(
    pairs: Pairs,
    out: Path,
    vocabulary: Vocabulary,
    options: NameOptions,
    naming: NamingOptions,
    *,
    style: Literal["coco", "ssa"] = "coco",
    inputs: Sequence[Path] = (),
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
        inputs: folders that must not be written into.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds results of other settings, or the vocabulary has too few names
            or none that the model knows.
        InputError: no region is there to be named, or ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    run = embed_folder(pairs, out, options, inputs=inputs, on_outcome=on_outcome)
    model = load_image_text(options.text, tuple(synset_names()))
    words = ask_for(vocabulary, model)
    task = NameTask(folder=out, options=options)
    regions, similar = _compare(task, pairs.samples, words, model)
    if options.by == "clusters" and options.per_id:
        # An earlier run may have looked at more.
        drawn = {_key(region) for region in draw_lots(map(_light, regions), options.per_id)}
        kept = [index for index, one in enumerate(regions) if _key(_light(one)) in drawn]
        regions, similar = [regions[index] for index in kept], similar[kept]
    if not regions:
        raise InputError(
            f"no id of {len(pairs.samples)} masks has a part of {options.min_area:.1%} of its "
            "picture, so there is nothing to name; lower --min-area, or give --background none if "
            "id 0 is a class"
        )
    labels = np.array([region.label for region in regions])
    found = probabilities(similar, labels, scale=model.scale, debias=naming.debias)
    notes = [f"{name}: the model has no word for it" for name in words.lacking]
    if options.by == "regions":
        own = name_regions(found, words.names, naming)
        _write_regions(out, pairs.samples, regions, own, words, style)
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


def _compare(
    task: NameTask, samples: Sequence[Sample], words: Words, model: ImageText
) -> tuple[list[Looked], Floats]:
    """Compare every region with every name; of the embeddings only one picture's are held."""
    regions: list[Looked] = []
    rows: list[Floats] = [np.zeros((0, len(words.names)), np.float32)]
    for sample, (embeddings, facts) in _stored(task, samples):
        if not facts["regions"]:
            continue
        size = (int(facts["size"][0]), int(facts["size"][1]))
        regions += [
            Looked(picture=sample.name, label=fact["label"], facts=fact, size=size)
            for fact in facts["regions"]
        ]
        rows.append(similarities(embeddings, words.texts, words.owner, exclusive=model.exclusive))
    return regions, np.concatenate(rows)


def _light(looked: Looked) -> Region:
    return Region(
        picture=looked.picture,
        label=looked.label,
        component=looked.facts["component"],
        box=looked.facts["box"],
        mask=np.zeros((0, 0), bool),
        share=looked.facts["share"],
    )


def _key(region: Region) -> tuple[str, int, int]:
    return region.picture, *part_of(region)


def _stored(
    task: NameTask, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, tuple[Floats, dict[str, Any]]]]:
    """Yield what is stored of each sample; one that failed has nothing."""
    for sample in samples:
        path = task.output(sample)
        if path.is_file():
            yield sample, read_embedded(path)


def _write_regions(
    out: Path,
    samples: Sequence[Sample],
    regions: Sequence[Looked],
    own: Sequence[Name],
    words: Words,
    style: Literal["coco", "ssa"],
) -> None:
    records: dict[str, list[Record]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    ids = {name: number for number, name in enumerate(words.names, start=1)}
    for region, name in zip(regions, own, strict=True):
        x0, y0, x1, y1 = region.facts["box"]
        area = round(region.facts["share"] * region.size[0] * region.size[1])
        # A category for data sets, the id of the map for SSA.
        label = ids.get(name.text, 0) if style == "coco" else region.label
        sizes[region.picture] = region.size
        records.setdefault(region.picture, []).append(
            Record(
                segmentation=region.facts["segmentation"],
                area=area,
                box=(x0, y0, x1, y1),
                label=label,
                class_name=name.text,
                class_proposals=tuple(text for text, _ in name.best),
                class_scores=tuple(score for _, score in name.best),
                source="vocabulary",
            )
        )
    if style == "ssa":
        for picture, found in records.items():
            write_file(out / "ssa" / f"{picture}_semantic.json", write_ssa(found))
        return
    files = {s.name: s.image.name if s.image else s.name for s in samples}
    categories = {0: "unknown", **{number: name for name, number in ids.items()}}
    named = {str(Path(name).parent / files[name]): found for name, found in records.items()}
    by_file = {str(Path(name).parent / files[name]): size for name, size in sizes.items()}
    document = coco_document(named, by_file, categories)
    write_file(out / "names.json", json.dumps(document).encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error

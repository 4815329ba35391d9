"""Pseudo-labels as trainers read them: mmsegmentation, PASS on ImageNet-S, Hugging Face datasets.

Sources: docs of mmsegmentation 1.x, "Customize Datasets"; ``src/singlecropdataset.py`` of PASS
(github.com/LUSSeg/PASS): a label is R + 256 G of ``SYNSET/NAME.png`` for ``SYNSET/NAME.JPEG``;
docs of Hugging Face datasets, "Create an image dataset", and its features in Parquet's metadata.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.interchange.legend import Files, Legend
from uosam.interchange.pixels import encode_ids, voc_palette
from uosam.interchange.pseudo.labels import Pseudo
from uosam.structures import IGNORE, LabelMap

LAYOUTS = ("mmseg", "imagenet-s", "hf")
SHARD = 500
"""Pictures of one Parquet file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """One picture with its pseudo-labels: relative path, bytes of the picture's file, labels."""

    name: str
    file: str
    picture: bytes
    pseudo: Pseudo


def number(legend: Legend) -> tuple[dict[int, int], list[str]]:
    """Number classes from 0 on as trainers want them, background first: id to number, and names."""
    order = [*([] if legend.background is None else [legend.background]), *legend.ids]
    titles = {**legend.titles}
    if legend.background is not None:
        titles[legend.background] = "background"
    return {label: place for place, label in enumerate(order)}, [titles[i] for i in order]


def encode_mmseg(examples: Iterator[Example], legend: Legend) -> Files:
    """Return ``img_dir``, ``ann_dir`` (255 ignored), ``conf_dir`` and mmsegmentation's settings.

    Raises:
        InputError: there are more than 255 classes, which its 8-bit masks cannot hold.
    """
    numbers, titles = number(legend)
    if len(titles) > 255:
        raise InputError(
            f"mmsegmentation's masks hold 255 classes at most, got {len(titles)}; use --layout hf"
        )
    suffixes = set()
    for example in examples:
        suffixes.add(PurePosixPath(example.file).suffix)
        stored = renumber(example.pseudo.labels, numbers, 255).astype(np.uint8)
        yield PurePosixPath("img_dir", "train", example.file), example.picture
        yield PurePosixPath("ann_dir", "train", f"{example.name}.png"), encode_ids(stored)
        yield confidence_file("conf_dir/train", example)
    palette = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[: len(titles)].tolist()
    suffix = min(suffixes, default=".jpg")
    yield (
        PurePosixPath("dataset.py"),
        _MMSEG.format(
            classes=repr(tuple(titles)), palette=repr(palette), suffix=repr(suffix)
        ).encode(),
    )


_MMSEG = """# A data set of mmsegmentation 1.x: name it in _base_ of your config, and set data_root.
data_root = "."
metainfo = dict(
    classes={classes},
    palette={palette},
)
train_dataloader = dict(
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        img_suffix={suffix},
        seg_map_suffix=".png",
        ignore_index=255,
        reduce_zero_label=False,
    )
)
"""


def encode_imagenet_s(examples: Iterator[Example], legend: Legend) -> Files:
    """Return ``train/SYNSET/NAME.png`` of R + 256 G for ``--pseudo_path`` of PASS, 1000 ignored.

    Raises:
        InputError: an id is that of "ignore", or beyond 16 bits.
    """
    wrong = [i for i in legend.ids if i == 1000 or i > 65535]
    if wrong:
        raise InputError(f"ImageNet-S keeps ids up to 65535 but 1000, got {wrong[0]}")
    for example in examples:
        labels = example.pseudo.labels.astype(np.int64)
        ids = np.where(labels == IGNORE, 1000, labels)
        rgb = np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=-1).astype(np.uint8)
        buffer = io.BytesIO()
        PIL.Image.fromarray(rgb).save(buffer, "PNG")
        yield PurePosixPath("train", f"{example.name}.png"), buffer.getvalue()
        yield confidence_file("confidence/train", example)


def confidence_file(folder: str, example: Example) -> tuple[PurePosixPath, bytes]:
    """Return the 8-bit picture of a confidence map, 255 = certain."""
    return PurePosixPath(folder, f"{example.name}.png"), encode_ids(to_8_bits(example.pseudo))


def to_8_bits(pseudo: Pseudo) -> NDArray[np.uint8]:
    """Return confidence as 0..255."""
    return (np.clip(pseudo.confidence, 0, 1) * 255).round().astype(np.uint8)


def renumber(labels: LabelMap, numbers: Mapping[int, int], ignore: int) -> NDArray[np.int64]:
    """Return labels by number, IGNORE as ``ignore``."""
    present, index = np.unique(labels, return_inverse=True)
    table = [ignore if i == IGNORE else numbers[i] for i in present.tolist()]
    return np.array(table, np.int64)[index.reshape(labels.shape)]


def encode_hf(examples: Iterator[Example], legend: Legend) -> Files:
    """Return ``data/train-*.parquet`` with pictures inside, and the card of the data set.

    Columns: ``image``, ``label`` (PNG of class numbers, 255 or 65535 ignored), ``confidence`` (PNG,
    255 = certain), ``name``, ``weight``, ``kept``.
    """
    numbers, titles = number(legend)
    wide = len(titles) > 255
    ignore = 65535 if wide else 255
    shard, place, count = [], 0, 0
    for example in examples:
        stored = renumber(example.pseudo.labels, numbers, ignore)
        shard.append(
            {
                "image": {"bytes": example.picture, "path": PurePosixPath(example.file).name},
                "label": {"bytes": _png(stored, wide), "path": None},
                "confidence": {"bytes": encode_ids(to_8_bits(example.pseudo)), "path": None},
                "name": example.name,
                "weight": example.pseudo.weight,
                "kept": example.pseudo.kept,
            }
        )
        count += 1
        if len(shard) == SHARD:
            yield PurePosixPath("data", f"train-{place:05d}.parquet"), _parquet(shard)
            shard, place = [], place + 1
    if shard:
        yield PurePosixPath("data", f"train-{place:05d}.parquet"), _parquet(shard)
    classes = json.dumps({str(n): title for n, title in enumerate(titles)}, indent=1)
    yield PurePosixPath("id2label.json"), (classes + "\n").encode()
    yield PurePosixPath("README.md"), _CARD.format(count=count, ignore=ignore).encode()


_CARD = """---
task_categories: [image-segmentation]
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
# Pseudo-labels of {count} pictures

`label` holds class numbers (`id2label.json`), {ignore} where nothing is to be learnt;
`confidence` is 255 where a label is certain; `weight` is how much a picture should count.
Made by `uosam export --to pseudo`.
"""


def _png(stored: NDArray[np.int64], wide: bool) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(stored.astype(np.uint16 if wide else np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa  # here, so that help answers at once
    import pyarrow.parquet as pq

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": picture, "label": picture, "confidence": picture}
    columns |= {"name": pa.string(), "weight": pa.float32(), "kept": pa.float32()}
    features: dict[str, dict[str, str]] = {
        key: {"_type": "Image"} for key in ("image", "label", "confidence")
    }
    features["name"] = {"dtype": "string", "_type": "Value"}
    features |= {key: {"dtype": "float32", "_type": "Value"} for key in ("weight", "kept")}
    note = json.dumps({"info": {"features": features}})
    schema = pa.schema(list(columns.items()), metadata={"huggingface": note})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, row_group_size=100)
    return buffer.getvalue()


ENCODERS = {"mmseg": encode_mmseg, "imagenet-s": encode_imagenet_s, "hf": encode_hf}

"""Caption a folder: a phrase for each region of its masks, or for all that a segmenter finds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs
from uosam.io.stores.mounts import at_hand, put
from uosam.regions.captions import COLUMNS, read_document, summarise, to_coco, to_rows
from uosam.runs.engine import run_folder
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Outcome
from uosam.runs.words.asked import read_questions
from uosam.runs.words.caption_task import CaptionTask
from uosam.runs.words.options import CaptionOptions
from uosam.structures import Sample


def caption_folder(
    pairs: Pairs,
    out: Path,
    options: CaptionOptions,
    *,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Caption every sample into ``out``, skipping those that an earlier run has done.

    Writes ``captions/NAME.json`` as it goes and, at the end, ``captions.json`` (COCO, with run
    lengths), ``captions.csv`` and ``classes.json``, a phrase for each id.

    Args:
        pairs: samples with picture and, for regions, mask; and what found no partner.
        out: folder of the run.
        options: which regions, and which model.
        inputs: folders that must not be written into.
        spread: which of the samples are done here; a shard writes documents alone.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds results of other settings, or is or lies in an input folder.
        InputError: ``out`` cannot be written, or the table of questions is none.
        BackendError: a model cannot be loaded, or a worker process died.
    """
    drawn = {} if options.overlay is None else {"overlay": Path(options.overlay)}
    check_folders({"output": out, **drawn}, inputs)
    questions = {}
    if options.prompts is not None:
        names = [sample.name for sample in pairs.samples]
        with at_hand(Path(options.prompts)):
            questions = read_questions(Path(options.prompts), names)
    task = CaptionTask(folder=out, options=options, questions=questions)
    run = run_folder(
        task,
        pairs.samples,
        failures=pairs.unreadable,
        unpaired=[str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)],
        spread=spread,
        on_outcome=on_outcome,
    )
    if spread.shard is not None:
        return run
    done = [sample for sample in pairs.samples if sample.name not in run.failures]
    documents = []
    for path in map(task.output, done):
        with at_hand(path):
            documents.append(read_document(path.read_bytes(), str(path)))
    files = {sample.name: sample.image.name for sample in done if sample.image is not None}
    put(out / "captions.json", json.dumps(to_coco(documents, files)).encode())
    table = io.StringIO()
    pd.DataFrame(to_rows(documents), columns=list(COLUMNS)).to_csv(table, index=False)
    put(out / "captions.csv", table.getvalue().encode(errors="backslashreplace"))
    classes = {str(key): text for key, text in summarise(documents).items()}
    put(out / "classes.json", (json.dumps(classes, indent=1) + "\n").encode())
    return run


def without_masks(samples: Sequence[Sample], unreadable: Mapping[str, str]) -> Pairs:
    """Return pictures as samples of a run that needs no masks."""
    return Pairs(
        samples=[replace(sample, coarse=None) for sample in samples], unreadable=dict(unreadable)
    )

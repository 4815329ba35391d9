"""One HTML page that needs no other file: how masks and agreement changed by round."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import PIL.Image

from uosam.evaluation.rounds.loop import LoopResult
from uosam.evaluation.rounds.record import Round
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.report.overlay import draw_labels
from uosam.structures import Image, LabelMap, Sample

SHOWN = 16
"""Pictures at most, evenly spread over the set."""

PANEL = 230
"""Width of a picture in pixels."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
figure { display: inline-block; margin: 0 .4rem .6rem 0; vertical-align: top }
figcaption { color: #555; font-size: 13px } .row { white-space: nowrap; overflow-x: auto }
.kept figcaption { color: #000; font-weight: 600 }
"""

_COLUMNS: tuple[tuple[str, Callable[[Round], str]], ...] = (
    ("round", lambda r: str(r.number)),
    ("refined against coarse, IoU", lambda r: f"{100 * r.refiner:.1f} %"),
    ("pixels changed", lambda r: f"{100 * r.changed:.1f} %" if r.number else ""),
    (
        "student and masks, IoU",
        lambda r: "" if r.agreement is None else f"{100 * r.agreement:.1f} %",
    ),
    ("pixels kept of this round", lambda r: f"{100 * r.kept:.1f} %"),
    ("ids gone", lambda r: ", ".join(map(str, r.lost))),
    ("ids moved", lambda r: ", ".join(map(str, r.moved))),
)


def to_html(result: LoopResult, labels: LabelOptions, title: str = "uosam loop") -> str:
    """Return the page.

    Args:
        result: of a loop, its folders still there.
        labels: how the masks are read.
        title: of the page.
    """
    body = [f"<h1>{html.escape(title)}</h1>", "<p>No truth was looked at. " + _WORDS + "</p>"]
    body += [_table(result.rounds)]
    if result.refused:
        body.append(f"<p>The next student was not used: {html.escape(result.refused)}.</p>")
    body.append("<h2>Pictures</h2>")
    step = max(1, -(-len(result.samples) // SHOWN))
    body += [_row(sample, result, labels) for sample in result.samples[::step][:SHOWN]]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


_WORDS = (
    "Agreement tells how stable masks are, which is not how right they are: a mistake that all "
    "rounds share agrees with itself."
)


def _table(rounds: Sequence[Round]) -> str:
    lines = ["".join(f"<th>{html.escape(name)}</th>" for name, _ in _COLUMNS)]
    lines += [
        "".join(f"<td>{html.escape(write(entry))}</td>" for _, write in _COLUMNS)
        for entry in rounds
    ]
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def _row(sample: Sample, result: LoopResult, labels: LabelOptions) -> str:
    """Draw the picture and its masks of every round."""
    assert sample.image is not None  # every sample of a loop has a picture
    assert sample.coarse is not None
    image = read_image(sample.image)
    figures = [_figure(image, sample.name)]
    own = labels
    for number, stage in enumerate(result.stages):
        for kind, path in (
            ("coarse", stage.coarse_file(sample)),
            ("refined", stage.refined_file(sample)),
        ):
            if kind == "coarse" or stage.refined is not None:
                drawn = _draw(image, read_with(path, own).labels, own)
                figures.append(_figure(drawn, f"round {number}, {kind}"))
        own = LabelOptions(background=labels.background, ignore=labels.ignore)
    kept = read_with(result.masks / f"{sample.name}{sample.coarse.suffix}", labels).labels
    figures.append(_figure(_draw(image, kept, labels), "kept", kind="kept"))
    return f'<div class="row">{"".join(figures)}</div>'


def _draw(image: Image, mask: LabelMap, labels: LabelOptions) -> Image:
    background = labels.background
    return draw_labels(
        image,
        mask,
        background=None if background == "none" else 0 if background == "default" else background,
        alpha=0.55,
    )


def _figure(picture: Image, caption: str, kind: str = "") -> str:
    scale = PANEL / picture.shape[1]
    size = (PANEL, max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(small, np.uint8)).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure class="{kind}"><img alt="{text}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )

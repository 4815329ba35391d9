"""What happens when the widgets are touched: errors become one line on the page."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from uosam.app.desk import KINDS, AppOptions, Click, Desk, Sheet, levels_of
from uosam.app.folders import refine_archives
from uosam.errors import InputError, UosamError
from uosam.io.codecs import encode_labels
from uosam.report.overlay import LONGEST, draw_labels, preview
from uosam.structures import Image
from uosam.text import one_line

DIAL = ("automatic", "1 whole", "2", "3", "4", "5", "6 smallest part")

Answer = tuple[Any, ...]
"""The sheet, the message, and what further widgets show."""


def shrinkage(sheet: Sheet) -> float:
    """Return how many pixels of the picture lie side by side under one of its preview."""
    return float(max(1.0, max(sheet.image.shape[:2]) / LONGEST))


def shown(sheet: Sheet) -> Image:
    """Draw the mask so far, the clicked one and the clicks."""
    labels = sheet.coarse.copy()
    if sheet.found is not None:
        labels[sheet.found] = labels.max(initial=0) + 1
    drawn, factor = draw_labels(preview(sheet.image), labels), shrinkage(sheet)
    reach = max(3, max(drawn.shape[:2]) // 140)
    for click in sheet.clicks:
        ink = (60, 220, 90) if click.kind == KINDS[0] else (255, 60, 60)
        at = [round(((value + 0.5) / factor - 0.5) * 16) for value in (click.x, click.y)]
        for radius, colour in ((reach + 1, (255, 255, 255)), (reach, ink)):
            cv2.circle(drawn, at, radius * 16, colour, cv2.FILLED, cv2.LINE_AA, shift=4)
    return drawn


def guarded(outputs: int) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Let an error of the user be one line on the page, and leave all else as it is.

    Args:
        outputs: widgets beside sheet and message.
    """

    def wrap(act: Callable[..., Answer]) -> Callable[..., Answer]:
        @functools.wraps(act)
        def run(self: Handlers, sheet: Sheet | None, *arguments: Any) -> Answer:
            try:
                return act(self, sheet, *arguments)
            except UosamError as error:
                return sheet, f"**{plain(str(error))}**", *[gr.skip()] * outputs

        return run

    return wrap


class Handlers:
    """The actions of the page. They keep nothing: every person's sheet comes with the call.

    Args:
        options: what the app is given.
        work: folder for downloads; each gets a folder of its own, whose name nobody can guess.
    """

    def __init__(self, options: AppOptions, work: Path) -> None:
        self.options, self.work, self.desk = options, work, Desk(options)

    @guarded(2)
    def on_picture(self, sheet: Sheet | None, path: str | None, mask: str | None) -> Answer:
        """Begin a new sheet with the picture, and the mask if one is there already."""
        if path is None:
            return None, "", None, None
        new = self.desk.open_picture(path)
        if mask is not None:
            new = self.desk.open_mask(new, mask)
        height, width = new.image.shape[:2]
        return new, f"picture of {width} x {height} pixels", shown(new), preview(new.image)

    @guarded(1)
    def on_mask(self, sheet: Sheet | None, path: str | None) -> Answer:
        """Put the mask of a file on the sheet."""
        if path is None or sheet is None:
            return sheet, "", gr.skip()
        sheet = self.desk.open_mask(sheet, path)
        count = len(np.unique(sheet.coarse[sheet.coarse > 0]))
        return sheet, f"mask of {count} objects", shown(sheet)

    @guarded(1)
    def on_drawing(self, sheet: Sheet | None, drawing: dict[str, Any] | None) -> Answer:
        """Make what was drawn the mask."""
        sheet = self.desk.take_drawing(needed(sheet), (drawing or {}).get("layers") or [])
        return sheet, "the drawing is the mask", shown(sheet)

    def on_click(
        self, sheet: Sheet | None, kind: str, model: str, level: str, event: gr.SelectData
    ) -> Answer:
        """Take the place of a click from the event."""
        return self.place(sheet, kind, model, level, event.index)

    @guarded(1)
    def place(
        self, sheet: Sheet | None, kind: str, model: str, level: str, at: tuple[int, int]
    ) -> Answer:
        """Ask for the mask under the clicks."""
        sheet = needed(sheet)
        x, y = ((value + 0.5) * shrinkage(sheet) - 0.5 for value in at)
        click = Click(x=x, y=y, kind=kind)
        sheet = self.desk.click(sheet, click, model, level_of(level, model))
        pixels = 0 if sheet.found is None else int(sheet.found.sum())
        return sheet, f"{len(sheet.clicks)} clicks, a mask of {pixels} pixels", shown(sheet)

    @guarded(1)
    def on_add(self, sheet: Sheet | None) -> Answer:
        """Make the clicked mask an object."""
        sheet = self.desk.add_object(needed(sheet))
        return sheet, f"{int(sheet.coarse.max())} objects", shown(sheet)

    @guarded(1)
    def on_clear(self, sheet: Sheet | None) -> Answer:
        """Take all masks off the sheet."""
        sheet = replace(needed(sheet), clicks=(), found=None, file=None, result=None)
        return sheet, "all masks are gone", shown(sheet)

    @guarded(3)
    def on_refine(self, sheet: Sheet | None, model: str, level: str) -> Answer:
        """Sharpen the mask, and write it for download."""
        sheet = self.desk.refine(needed(sheet), model, level_of(level, model))
        result, file = sheet.result, sheet.file
        assert result is not None
        assert file is not None
        halves = tuple(
            draw_labels(preview(sheet.image), labels, background=file.spec.background)
            for labels in (result.coarse, result.ids)
        )
        rows = [
            [
                v.label,
                "redrawn" if v.accepted else "kept",
                v.reason,
                round(v.score, 2),
                round(v.agreement, 2),
                v.area,
            ]
            for v in result.verdicts
        ]
        path = Path(tempfile.mkdtemp(dir=self.work)) / f"{sheet.stem}_refined{sheet.suffix}"
        path.write_bytes(encode_labels(sheet.suffix, result.ids, file.spec, scores=file.stored))
        return sheet, repr(result), halves, rows, str(path)

    @guarded(1)
    def on_words(self, sheet: Sheet | None, vocabulary: str | None = None) -> Answer:
        """Put the result into words."""
        return sheet, "", self.desk.put_into_words(needed(sheet), vocabulary)

    @guarded(1)
    def on_depth(self, sheet: Sheet | None, path: str | None) -> Answer:
        """Draw a depth file."""
        if path is None:
            return sheet, "", None
        return sheet, "", preview(self.desk.view_depth(needed(sheet), path))

    def on_folders(
        self,
        pictures: str | None,
        masks: str | None,
        model: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Answer:
        """Refine two archives, with progress."""
        try:
            if pictures is None or masks is None:
                raise InputError("give two archives, one of pictures and one of their masks")
            place = Path(tempfile.mkdtemp(dir=self.work))
            path, lines = refine_archives(
                Path(pictures),
                Path(masks),
                place,
                model,
                self.options,
                lambda done, total: progress((done, total), unit="pictures"),
            )
        except UosamError as error:
            return f"**{plain(str(error))}**", None
        return "```\n" + "\n".join(plain(line) for line in lines) + "\n```", str(path)


def needed(sheet: Sheet | None) -> Sheet:
    """Return the sheet; InputError before there is a picture."""
    if sheet is None:
        raise InputError("there is no picture yet; give one, or take an example")
    return sheet


def level_of(text: str, model: str) -> int:
    """Return the level of the dial, 0 for the model's choice.

    Raises:
        InputError: the model does not have it.
    """
    level = DIAL.index(text)
    if level > levels_of(model):
        raise InputError(
            f"{model} has {levels_of(model)} levels of granularity, the dial asks for {level}"
        )
    return level


def plain(text: str) -> str:
    """Show a text as it is, in one line of Markdown."""
    return one_line(text).replace("`", "'").replace("<", "‹").replace("*", "∗")

"""The widgets of the app, and what happens when they are touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from uosam.app.desk import INKS, KINDS, AppOptions
from uosam.app.handlers import DIAL, Handlers
from uosam.config import examples_folder
from uosam.datasets.vocabulary import BUILT_IN
from uosam.io.stored import MASK_SUFFIXES

COLUMNS = ["id", "decided", "why", "score", "agreement", "pixels"]
_INTRO = """# uosam: sharper masks
Give a picture and its coarse mask, draw a rough one, or click on objects; then **refine**.
Everything stays on this machine; what you give is yours alone and goes when your visit ends."""


def build(options: AppOptions, work: Path) -> gr.Blocks:
    """Lay out the page.

    Args:
        options: what the app is given.
        work: folder for downloads; each gets a folder of its own, whose name nobody can guess.
    """
    do = Handlers(options, work)
    with gr.Blocks(title="uosam", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(_INTRO)
        sheet = gr.State(None, time_to_live=3600)
        with gr.Tab("One picture"):
            with gr.Row():
                picture = gr.Image(
                    label="picture",
                    type="filepath",
                    image_mode=None,
                    sources=["upload"],
                    height=300,
                    elem_id="picture",
                    buttons=[],
                )
                with gr.Column():
                    mask = gr.File(
                        label="coarse mask (PNG, .npy, .npz)",
                        file_types=list(MASK_SUFFIXES),
                        height=120,
                        elem_id="mask",
                    )
                    model = gr.Dropdown(
                        list(options.models), value=options.models[0], label="model"
                    )
                    level = gr.Dropdown(
                        list(DIAL),
                        value=DIAL[0],
                        label="dial: whole, object or part (models with levels)",
                    )
            _examples(picture, mask)
            with gr.Tab("Click on objects"):
                kind = gr.Radio(list(KINDS), value=KINDS[0], label="a click means")
                canvas = gr.Image(
                    label="click here",
                    interactive=False,
                    height=420,
                    elem_id="canvas",
                    buttons=[],
                )
                with gr.Row():
                    add = gr.Button("Add the clicked object")
                    clear = gr.Button("Clear masks")
            with gr.Tab("Draw a rough mask"):
                pen = gr.ImageEditor(
                    label="one colour for each object",
                    type="numpy",
                    sources=[],
                    transforms=[],
                    brush=gr.Brush(
                        default_size=24,
                        colors=[_hex(ink) for ink in INKS],
                        default_color=_hex(INKS[0]),
                        color_mode="fixed",
                    ),
                    layers=False,
                    height=460,
                    elem_id="pen",
                    buttons=[],
                )
                take = gr.Button("Take the drawing")
            go = gr.Button("Refine", variant="primary", elem_id="refine")
            message = gr.Markdown(elem_id="message")
            slider = gr.ImageSlider(
                label="before and after",
                interactive=False,
                height=460,
                elem_id="slider",
                buttons=["fullscreen"],
            )
            with gr.Row():
                table = gr.Dataframe(headers=COLUMNS, label="what was decided", interactive=False)
                download = gr.File(
                    label="refined mask, as the coarse one was stored",
                    interactive=False,
                    elem_id="download",
                )
            if options.names or options.captions:
                words = gr.Dataframe(
                    headers=["id", "name", "phrase"], label="in words", interactive=False
                )
                vocabulary = gr.Dropdown(
                    list(BUILT_IN),
                    value="imagenet" if options.names == "imagenet" else "voc",
                    allow_custom_value=True,
                    visible=options.names is not None,
                    label="names to choose from, or your own with commas between them",
                )
                say = gr.Button("Names and phrases")
                say.click(
                    do.on_words,
                    [sheet, vocabulary],
                    [sheet, message, words],
                    api_visibility="private",
                )
            with gr.Accordion("Depth of the picture", open=False):
                depth = gr.File(label="depth (16-bit PNG, .npy, TIFF)", elem_id="depth")
                seen = gr.Image(
                    label="near is bright",
                    interactive=False,
                    height=300,
                    buttons=[],
                    elem_id="depth_view",
                )
        with gr.Tab("Whole folders"):
            gr.Markdown(
                f"Two ZIP archives of the same names, up to {options.most_pictures} files. A ZIP "
                "with masks and `report.html` comes back."
            )
            with gr.Row():
                zipped = gr.File(label="pictures.zip", file_types=[".zip"], elem_id="zip_pictures")
                zipped_masks = gr.File(label="masks.zip", file_types=[".zip"], elem_id="zip_masks")
            start = gr.Button("Refine the folder", variant="primary", elem_id="folder")
            told = gr.Markdown(elem_id="told")
            taken = gr.File(label="refined.zip", interactive=False, elem_id="taken")
        common = [sheet, message]
        quiet: dict[str, Any] = {"api_visibility": "private"}
        picture.change(do.on_picture, [sheet, picture, mask], [*common, canvas, pen], **quiet)
        mask.change(do.on_mask, [sheet, mask], [*common, canvas], **quiet)
        canvas.select(do.on_click, [sheet, kind, model, level], [*common, canvas], **quiet)
        add.click(do.on_add, [sheet], [*common, canvas], **quiet)
        clear.click(do.on_clear, [sheet], [*common, canvas], **quiet)
        take.click(do.on_drawing, [sheet, pen], [*common, canvas], **quiet)
        go.click(do.on_refine, [sheet, model, level], [*common, slider, table, download], **quiet)
        depth.change(do.on_depth, [sheet, depth], [*common, seen], **quiet)
        start.click(do.on_folders, [zipped, zipped_masks, model], [told, taken], **quiet)
    built: gr.Blocks = page
    return built


def _examples(picture: gr.Image, mask: gr.File) -> None:
    """Offer the packaged pictures with their masks."""
    folder = examples_folder()
    pairs = [
        [str(path), str(folder / "coarse" / f"{path.stem}.png")]
        for path in sorted((folder / "images").glob("*.jpg"))
    ]
    titles = [Path(path).stem for path, _ in pairs]
    gr.Examples(
        pairs,
        [picture, mask],
        label="examples",
        cache_examples=False,
        example_labels=titles,
        api_visibility="private",
    )


def _hex(ink: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*ink)

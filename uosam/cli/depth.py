"""``uosam depth``: estimate depth, draw it, put a photograph into space, join a scene's frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uosam.cli.stopping import resumable

if TYPE_CHECKING:
    from uosam.io.codecs import LabelOptions
    from uosam.runs.summary import Run

app = typer.Typer(
    help="Depth: estimate it, draw it, see it in space, join the frames of a scene.",
    no_args_is_help=True,
)

Encoding = Annotated[
    str,
    typer.Option(
        help="mm, tum, kitti, metres, sailvos, inverse, or auto: 16-bit files are millimetres, an "
        ".npz tells by the name of its array."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
Resize = Annotated[
    bool, typer.Option("--resize", help="Fit depth of another size by nearest neighbour.")
]
Intrinsics = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Text file of the camera's matrix, 3 x 3 or 4 x 4."),
]
Colour = Annotated[str, typer.Option(help="Of the files: photo, label or group.")]
Ply = Annotated[bool, typer.Option("--ply", help="Also a PLY with label and group of each point.")]
Background = Annotated[
    str | None, typer.Option(help="Id of the masks that is no object, or 'none'; 0 if left out.")
]


@app.command()
def estimate(
    images: Annotated[Path, typer.Argument(help="Folder of photographs.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for depth files.", show_default=False)],
    checkpoint: Annotated[
        Path,
        typer.Option(help="Local folder of a depth network of transformers.", show_default=False),
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Estimate the depth of IMAGES into OUT with a network.

    Networks that estimate metres give 16-bit PNG of millimetres, others .npz of inverse depth:
    a guide for uosam refine --depth, but without a place in space unless --scale says so.
    A run that was stopped goes on where it stopped.

    uosam depth estimate photos depth --checkpoint depth-anything-v2-small
    """
    from uosam.cli.progress import show_progress
    from uosam.io.pairs import find_pictures
    from uosam.io.stores.mounts import mount
    from uosam.runs.depth.files import estimate_folder

    images, out = mount(images), mount(out, keep=True)
    with _stoppable(), show_progress(len(find_pictures(images)[0]), verb="estimating") as outcome:
        run = estimate_folder(
            images, out, checkpoint, device=device, overwrite=overwrite, on_outcome=outcome
        )
    _report(run)


@app.command()
def render(
    depth: Annotated[Path, typer.Argument(help="Folder of depth files.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for pictures.", show_default=False)],
    encoding: Encoding = "auto",
    mode: Annotated[str, typer.Option(help="inverse, linear, log or normals.")] = "inverse",
    colormap: Annotated[str, typer.Option(help="Any of matplotlib's.")] = "inferno",
    limits: Annotated[
        tuple[float, float], typer.Option(help="Percentiles at the ends of the colours.")
    ] = (2.0, 98.0),
    holes: Annotated[
        str, typer.Option(help="Pixels without depth: nearest colour, or far (as published).")
    ] = "nearest",
    overwrite: Overwrite = False,
) -> None:
    """Draw the depth files of DEPTH into OUT, as uosam refine --depth would show them a segmenter.

    uosam depth render depth rendered --encoding mm --colormap inferno

    uosam depth render depth published --limits 0 100 --holes far
    """
    from uosam.cli.progress import show_progress
    from uosam.io.depth import DepthOptions
    from uosam.io.stores.mounts import mount
    from uosam.runs.depth.files import find_depths, render_folder

    depth, out = mount(depth), mount(out, keep=True)
    options = DepthOptions(
        encoding=encoding,
        mode=mode,  # type: ignore[arg-type]
        colormap=colormap,
        limits=limits,
        holes=holes,  # type: ignore[arg-type]
    )
    with _stoppable(), show_progress(len(find_depths(depth)[0]), verb="rendering") as on_outcome:
        run = render_folder(depth, out, options, overwrite=overwrite, on_outcome=on_outcome)
    _report(run)


@app.command()
def view(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO DEPTH [MASK] OUT.glb",
            show_default=False,
            help="Photograph, its depth, its labels, and the file to write.",
        ),
    ],
    encoding: Encoding = "auto",
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="METRES", help="Distance = METRES / value, for inverse depth; a guess of yours."
        ),
    ] = None,
    resize: Resize = False,
    intrinsics: Intrinsics = None,
    pose: Annotated[
        Path | None, typer.Option(metavar="FILE", help="4 x 4 matrix, camera to world.")
    ] = None,
    matrices: Annotated[
        Path | None, typer.Option(metavar="FILE", help=".npz of P, VP and VP_inv (SAIL-VOS 3D).")
    ] = None,
    mesh: Annotated[
        bool, typer.Option("--mesh", help="Triangles, but none across a step of depth.")
    ] = False,
    colour: Colour = "photo",
    background: Background = None,
    ply: Ply = False,
    html: Annotated[bool, typer.Option(help="Also a page for any browser, no network.")] = True,
    film: Annotated[
        Path | None, typer.Option(metavar="FILE.gif", help="A turn there and back, animated.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put PHOTO into space by its DEPTH: a GLB for any viewer, and a page that shows it.

    The page is coloured by photo, by label and by group (connected parts of a label of MASK).
    Without --intrinsics a field of view of 55 degrees is assumed, which the page says.

    uosam depth view photo.jpg depth.png mask.png scene.glb --intrinsics K.txt

    uosam depth view photo.jpg depth.npz scene.glb --scale 2 --mesh --film turn.gif
    """
    from uosam.errors import InputError
    from uosam.io.stores.mounts import bring
    from uosam.io.stores.outbox import outbox
    from uosam.runs.depth.scene import ViewOptions, build_view, write_built

    if len(paths) not in (3, 4):
        raise InputError(
            f"expected PHOTO DEPTH [MASK] OUT.glb, got {len(paths)} paths: "
            f"{' '.join(map(str, paths))}"
        )
    photo, depth, *masks = map(bring, paths[:-1])
    out, film = outbox(paths[-1]), film and outbox(film)
    intrinsics, pose = intrinsics and bring(intrinsics), pose and bring(pose)
    matrices = matrices and bring(matrices)
    options = ViewOptions(
        encoding=encoding,
        scale=scale,
        resize=resize,
        intrinsics=intrinsics,
        pose=pose,
        matrices=matrices,
        mesh=mesh,
        labels=_labels(background),
    )
    built = build_view(photo, depth, masks[0] if masks else None, options)
    written = write_built(
        built,
        out,
        title=photo.stem,
        colour=colour,
        page=html,
        ply=ply,
        film=film,
        overwrite=overwrite,
    )
    _tell(written, len(built.cloud), built.notes)


@app.command()
def fuse(
    scene: Annotated[
        Path,
        typer.Argument(help="Folder of color, depth, pose, intrinsics.", show_default=False),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for results.", show_default=False)],
    masks: Annotated[Path, typer.Option(help="Folder of a mask a frame.", show_default=False)],
    encoding: Encoding = "auto",
    intrinsics: Intrinsics = None,
    resize: Resize = False,
    background: Background = None,
    voxel: Annotated[float, typer.Option(help="Metres that keep one point.")] = 0.05,
    small: Annotated[int, typer.Option(help="Points below which a group is none.")] = 50,
    overlap: Annotated[
        float, typer.Option(help="Share of the smaller group that makes two one.")
    ] = 0.5,
    colour: Colour = "photo",
    overwrite: Overwrite = False,
) -> None:
    """Join the frames of SCENE in space, so that a thing has one number in all of them.

    OUT gets fused.glb, fused.ply, fused.html, and labels.npz: group and label of every pixel of
    every frame. A frame without depth, mask or a finite pose is left out and named.

    uosam depth fuse scene0000_00 out --masks refined
    """
    from uosam.errors import ConfigError, InputError
    from uosam.geometry.fusion import FusionOptions
    from uosam.io.atomic import write_atomic
    from uosam.io.stores.mounts import bring
    from uosam.io.stores.outbox import outbox
    from uosam.runs.depth.fusion import SceneOptions, encode_frames, fuse_scene
    from uosam.runs.depth.scene import write_built

    scene, masks, out = bring(scene), bring(masks), outbox(out)
    intrinsics = intrinsics and bring(intrinsics)
    options = SceneOptions(
        encoding=encoding,
        resize=resize,
        intrinsics=intrinsics,
        labels=_labels(background),
        fusion=FusionOptions(voxel=voxel, small=small, overlap=overlap),
    )
    labels = out / "labels.npz"
    if labels.exists() and not overwrite:
        raise ConfigError(f"{labels} is there already; give --overwrite, or another folder")
    found = fuse_scene(scene, masks, options)
    written = write_built(
        found.built,
        out / "fused.glb",
        title=scene.resolve().name,
        colour=colour,
        ply=True,
        overwrite=overwrite,
    )
    try:
        write_atomic(labels, encode_frames(found.frames))
    except OSError as error:
        raise InputError(f"{labels}: cannot be written ({error.strerror})") from error
    _tell([*written, labels], len(found.built.cloud), found.built.notes)
    typer.echo(f"groups   {found.built.cloud.group.max() + 1}")
    for name, reason in found.failures.items():
        typer.echo(f"left out: {name}: {reason}".encode(errors="backslashreplace").decode())
    if found.failures:
        raise typer.Exit(1)


def _labels(background: str | None) -> LabelOptions:
    from uosam.config import load_config

    given = [] if background is None else [f"labels.background={background}"]
    return load_config(None, given).labels


def _tell(written: list[Path], points: int, notes: tuple[str, ...]) -> None:
    from uosam.io.stores.mounts import as_given

    typer.echo(f"points   {points}")
    for note in notes:
        typer.echo(f"note     {note}")
    for path in written:
        typer.echo(as_given(f"wrote    {path} ({path.stat().st_size / 1e6:.1f} MB)"))


@contextmanager
def _stoppable() -> Iterator[None]:
    with resumable():
        yield


def _report(run: Run) -> None:
    from uosam.runs.summary import describe

    typer.echo("\n".join(describe(run)))
    if run.failures:
        raise typer.Exit(1)

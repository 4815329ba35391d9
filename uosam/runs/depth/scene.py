"""A photograph in space: built from its files, then written as GLB, page, PLY and film."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError, InputError
from uosam.geometry.camera import Camera, Pinhole, Projective, assumed_camera
from uosam.geometry.cloud import PointCloud, label_groups, make_cloud
from uosam.geometry.depth_map import DepthMap, scaled
from uosam.geometry.export import Triangles, encode_glb, encode_ply, id_colours, triangulate
from uosam.geometry.film import encode_gif, turntable
from uosam.geometry.render import FIELD_OF_VIEW
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.depth import read_camera, read_depth, read_matrices
from uosam.io.images import check_same_size, read_image
from uosam.report.scene import View, encode_page, id_table

GRAIN = 1.6
"""A point is drawn this many times as large as what it stands for, so that surfaces close."""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How depth is put into space.

    Attributes:
        encoding: of the depth file, or "auto".
        scale: metres times the unit of inverse depth; None where the depth is metric.
        resize: whether depth of another size than the photograph is changed by nearest neighbour.
        intrinsics: text file of a 3 x 3 or 4 x 4 matrix; None assumes a field of view.
        pose: text file of a 4 x 4 matrix, camera to world.
        matrices: ``.npz`` of SAIL-VOS 3D, in place of both.
        mesh: join neighbouring pixels to triangles.
        labels: how the mask is read.
    """

    encoding: str = "auto"
    scale: float | None = None
    resize: bool = False
    intrinsics: Path | None = None
    pose: Path | None = None
    matrices: Path | None = None
    mesh: bool = False
    labels: LabelOptions = field(default_factory=LabelOptions)


@dataclass(frozen=True, eq=False, kw_only=True)
class Built:
    """A cloud ready to be written.

    Attributes:
        cloud: the points.
        faces: triangles over them, or None.
        view: where its page looks from.
        notes: what a reader should know.
        names: id to class name.
    """

    cloud: PointCloud
    faces: Triangles | None = None
    view: View = field(default_factory=View)
    notes: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)


def build_view(photo: Path, depth: Path, mask: Path | None, options: ViewOptions) -> Built:
    """Put one photograph into space.

    Args:
        photo: picture file.
        depth: depth file of the same view.
        mask: its labels; connected parts of a label, without the background, are the groups.
        options: cameras and encodings.

    Raises:
        InputError: a file is unusable, sizes differ, or the depth has no unit and no scale.
        ConfigError: an option is unknown, or options contradict each other.
    """
    if options.matrices and (options.intrinsics or options.pose):
        raise ConfigError("--matrices stands for --intrinsics and --pose, got both; leave one out")
    if options.pose and not options.intrinsics:
        raise ConfigError("--pose needs the --intrinsics of its camera, got none")
    image = read_image(photo)
    hw = (image.shape[0], image.shape[1])
    camera, notes = find_camera(options, hw)
    projection = camera.p if isinstance(camera, Projective) else None
    found = read_depth(depth, options.encoding, hw=hw, resize=options.resize, projection=projection)
    if options.scale is not None:
        found = scaled(found, options.scale)
        notes.append(f"depth scaled by {options.scale:g}, as asked")
    labels = groups = None
    names: Mapping[int, str] = {}
    if mask is not None:
        file = read_with(mask, options.labels)
        check_same_size(photo, hw, mask, file.labels.shape)
        labels, names = file.labels, {**names_beside(mask), **file.spec.names}
        groups = label_groups(labels, file.spec.background)
    cloud = make_cloud(found, camera, image, labels, groups)
    if found.holes:
        notes.append(f"{100 * found.holes:.1f} % of the pixels have no depth")
    return Built(
        cloud=cloud,
        faces=triangulate(found) if options.mesh else None,
        view=_view(camera, found, hw),
        notes=tuple(notes),
        names=names,
    )


def names_beside(mask: Path) -> dict[int, str]:
    """Return names by id from the ``classes.txt`` beside a mask, as ``uosam name --apply`` writes.

    Returns:
        Nothing where there is no such file, or one of another form.
    """
    names: dict[int, str] = {}
    try:
        lines = (mask.parent / "classes.txt").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    for line in filter(None, map(str.strip, lines)):
        number, _, name = line.partition(" ")
        if not number.isdecimal() or not name:
            return {}
        names[int(number)] = name
    return names


def write_built(
    built: Built,
    out: Path,
    *,
    title: str,
    colour: str = "photo",
    page: bool = True,
    ply: bool = False,
    film: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a cloud as GLB, and on request as page, PLY and film.

    Args:
        built: of ``build_view`` or ``build_scene``.
        out: the GLB; page and PLY go beside it.
        title: of the page.
        colour: of GLB, PLY and page at first: "photo", "label" or "group".
        page: whether an HTML page is written.
        ply: whether a PLY is written.
        film: GIF of a turn in the colours of the photograph and back in those of labels, or None.
        overwrite: whether files that are there are replaced.

    Returns:
        What was written.

    Raises:
        ConfigError: ``out`` is no ``.glb`` or ``film`` no ``.gif``, a file is there already, a
            colouring is not there, or trimesh is not installed.
        InputError: a file cannot be written.
    """
    if out.suffix.lower() != ".glb":
        raise ConfigError(f"the scene is written as .glb, got {out.name}; its page lies beside it")
    if film is not None and film.suffix.lower() != ".gif":
        raise ConfigError(f"the film is written as .gif, got {film.name}")
    colours = _paints(built.cloud)
    if colour not in colours:
        raise ConfigError(
            f"colouring {colour!r} must be one of {', '.join(colours)}, which this scene has; "
            "labels and groups come with a MASK"
        )
    chosen = colours[colour]
    files: dict[Path, Callable[[], bytes]] = {
        out: lambda: encode_glb(built.cloud, chosen, built.faces)
    }
    if ply:
        files[out.with_suffix(".ply")] = lambda: encode_ply(built.cloud, chosen)
    if page:
        note = "; ".join(built.notes)
        files[out.with_suffix(".html")] = lambda: encode_page(
            built.cloud,
            title,
            names=built.names,
            note=note[:1].upper() + note[1:] + "." if note else "",
            view=built.view,
            faces=built.faces,
            start=colour,
        )
    if film is not None:
        turns = [colours[name] for name in ("photo", "label") if name in colours]
        files[film] = lambda: encode_gif(list(turntable(built.cloud, turns, built.view.eye)))
    for path in files:
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} is there already; give --overwrite, or another name")
    for path, encode in files.items():
        try:
            write_atomic(path, encode())
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error
    return list(files)


def find_camera(options: ViewOptions, hw: tuple[int, int]) -> tuple[Camera, list[str]]:
    """Read or assume the camera of a picture of size ``hw``; with it, what a reader should know.

    Raises:
        InputError: a file is unusable, or belongs to pictures of another size.
    """
    if options.matrices is not None:
        return read_matrices(options.matrices), []
    if options.intrinsics is None:
        note = f"camera assumed to see {FIELD_OF_VIEW:g} degrees across, give --intrinsics"
        return assumed_camera(hw), [note]
    camera, notes = read_camera(options.intrinsics, options.pose)
    check_centre(camera, hw, options.intrinsics)
    return camera, notes


def check_centre(camera: Pinhole, hw: tuple[int, int], path: Path) -> None:
    """Refuse a camera whose centre lies outside the picture: it belongs to another size.

    Raises:
        InputError: centre and size.
    """
    if not (0 < camera.cx < hw[1] and 0 < camera.cy < hw[0]):
        raise InputError(
            f"{path}: the centre of the camera must lie in the picture of {hw[0]} x {hw[1]} "
            f"(H x W), got column {camera.cx:g}, row {camera.cy:g}; scale the matrix as the "
            "pictures were scaled"
        )


def _view(camera: Camera, depth: DepthMap, hw: tuple[int, int]) -> View:
    """Look from where the photograph was taken."""
    middle = float(np.nanmedian(depth.z))
    near = np.array([middle * 1e-3])
    centre = np.array([(hw[1] - 1) / 2]), np.array([(hw[0] - 1) / 2])
    x, y, z = camera.locate(*centre, near, hw)[0].tolist()
    focal = camera.fx if isinstance(camera, Pinhole) else None
    if isinstance(camera, Projective):
        focal = float(camera.p[0, 0]) * hw[1] / 2
    return View(eye=(x, y, z), size=GRAIN * middle / (focal or hw[1]))


def _paints(cloud: PointCloud) -> dict[str, NDArray[np.uint8]]:
    """Return the (N, 3) RGB of every colouring that a cloud has."""
    paints = {"photo": cloud.colour}
    for name, ids in (("label", cloud.label), ("group", cloud.group)):
        if (ids >= 0).any():
            paints[name] = id_colours(ids, id_table(ids))
    return paints

"""Whole folders in the app: two archives in, one with masks and the page of the run out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from uosam.app.desk import AppOptions
from uosam.config import load_config
from uosam.errors import InputError
from uosam.io.images import IMAGE_SUFFIXES
from uosam.io.mismatch import require_pairs
from uosam.io.pairs import find_pairs
from uosam.io.stored import MASK_SUFFIXES
from uosam.runs.refine import refine_folder
from uosam.runs.report import write_report
from uosam.runs.summary import describe


def unpack(archive: Path, folder: Path, suffixes: tuple[str, ...], options: AppOptions) -> int:
    """Unpack the files of some endings; every name stays inside of the folder.

    Returns:
        Number of files.

    Raises:
        InputError: no archive, too many or too large files, or none of these endings.
    """
    count, total = 0, 0
    most = max(options.most_megabytes * 4_000_000, 1)
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                if entry.is_dir() or path.suffix.lower() not in suffixes:
                    continue
                if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                    raise InputError(f"{archive.name}: holds the name {entry.filename!r}")
                if any(part.startswith((".", "__MACOSX")) for part in path.parts):
                    continue
                count, total = count + 1, total + entry.file_size
                if count > options.most_pictures:
                    raise InputError(
                        f"{archive.name}: the app takes {options.most_pictures} files at most; use "
                        "'uosam refine' for more"
                    )
                if total > most:
                    raise InputError(
                        f"{archive.name}: unpacked, its files are larger than {most // 10**6} MB; "
                        "use 'uosam refine'"
                    )
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(entry) as source:
                    # No more than it says: the sum above is of what archives claim.
                    target.write_bytes(source.read(entry.file_size))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{archive.name}: expected a ZIP archive, got: {error}") from error
    if not count:
        raise InputError(f"{archive.name}: holds no files of {', '.join(suffixes)}")
    return count


def refine_archives(
    pictures: Path,
    masks: Path,
    work: Path,
    model: str,
    options: AppOptions,
    on_done: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Path, list[str]]:
    """Refine the masks of an archive.

    Args:
        pictures: ZIP of pictures.
        masks: ZIP of masks of the same names.
        work: empty folder of this run alone.
        model: name of the segmenter.
        options: limits and device.
        on_done: called with pictures done and all.

    Returns:
        ZIP of the refined masks and ``report.html``, and the summary.

    Raises:
        InputError: an archive is none, or no mask belongs to a picture.
    """
    unpack(pictures, work / "pictures", tuple(IMAGE_SUFFIXES), options)
    unpack(masks, work / "masks", MASK_SUFFIXES, options)
    pairs = find_pairs(work / "pictures", work / "masks")
    require_pairs(pairs, work / "pictures", work / "masks")
    settings = [
        f"backend.name={model}",
        f"backend.device={options.device}",
        "engine.workers=1",
        f"io.max_pixels={options.most_pixels}",
    ]
    done = 0

    def count(outcome: object) -> None:
        nonlocal done
        done += 1
        on_done(done, len(pairs.samples))

    out = work / "refined"
    inputs = [work / "pictures", work / "masks"]
    run = refine_folder(pairs, out, load_config(None, settings), inputs=inputs, on_outcome=count)
    write_report(out, pairs=pairs)
    result = work / "refined.zip"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(out.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
            if path.is_file() and not hidden and path.name != "summary.json":
                file.write(path, path.relative_to(out).as_posix())
    result.write_bytes(buffer.getvalue())
    return result, [line.replace(f"{work}/", "") for line in describe(run)]

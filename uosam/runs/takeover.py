"""Keep results of other masks out of a folder that was filled before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from uosam.errors import ConfigError
from uosam.runs.manifest import file_digest, read_rows
from uosam.structures import Sample

LOOKED_AT = 50
"""Masks that are compared, spread over the folder."""


def refuse_other_masks(out: Path, samples: Sequence[Sample]) -> None:
    """Refuse an output folder whose results are of other masks of the same names.

    A few masks that changed since are redone, as ever. If most of them differ, they are most
    likely those of another folder or another model.

    Args:
        out: folder of an earlier run, or none yet.
        samples: of this run.

    Raises:
        ConfigError: more than half of the masks that have a result are other files now.
    """
    if not out.is_dir():
        return
    _, rows = read_rows(out)
    known = [
        (sample.coarse, rows[sample.name]["mask_sha256"])
        for sample in samples
        if sample.coarse is not None and "mask_sha256" in rows.get(sample.name, {})
    ]
    known = known[:: max(1, len(known) // LOOKED_AT)]
    changed: list[Path] = []
    for path, digest in known:
        with suppress(OSError):  # told when its turn comes
            if file_digest(path) != digest:
                changed.append(path)
    if 2 * len(changed) > len(known):
        raise ConfigError(
            f"{out} holds results of other masks of the same names: {len(changed)} of {len(known)} "
            f"looked at differ, such as {changed[0]}; give another output folder, or --overwrite "
            "to replace them"
        )

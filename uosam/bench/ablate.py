"""What each part brings: variants of one configuration, on the cells of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uosam.bench.leaderboard import Step, run_bench
from uosam.bench.plan import SECTIONS, BenchMethod, Plan, read_plan, read_tree
from uosam.bench.scores import Compared, average, harmed
from uosam.config import load_config
from uosam.errors import ConfigError, unknown
from uosam.metrics.bootstrap import Interval, bootstrap, paired_bootstrap

FULL = "full"
"""Name of the configuration that every variant is compared with."""

SCORES = ("mIoU", "object_IoU", "object_boundary_IoU")

_GRID = "global_region.grid"

nan = float("nan")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One configuration of the grid.

    Attributes:
        group: heading of the table it stands under.
        name: of the variant.
        overrides: ``section.key=value``, what differs from the full configuration.
        grid: points along a side, if the group varies them; else None.
    """

    group: str
    name: str
    overrides: tuple[str, ...]
    grid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A declared grid over sets.

    Attributes:
        plan: sets, limit and resamples; its methods are the variants.
        variants: in the order of the table, the full configuration not among them.
    """

    plan: Plan
    variants: tuple[Variant, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class AblationRow:
    """A line of the ablation table; averages over sets, every set weighing the same.

    Attributes:
        variant: what was run.
        scores: with their intervals, in [0, 1].
        changes: of the scores against the full configuration, in [-1, 1].
        harmed: part of the objects that lose more than a point of IoU against the coarse masks.
        seconds: mean wall time of a picture.
        note: why there are no numbers, or "".
    """

    variant: Variant
    scores: Mapping[str, Interval] = field(default_factory=dict)
    changes: Mapping[str, Interval] = field(default_factory=dict)
    harmed: float = nan
    seconds: float = nan
    note: str = ""


def read_ablation(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    groups: Sequence[str] = (),
    sets: Sequence[str] = (),
    limit: int | None = None,
) -> Ablation:
    """Read a grid; ``docs/benchmarking.md`` describes the file.

    Args:
        source: YAML file, or the name of a packaged one such as "examples".
        overrides: ``section.key=value`` for every configuration.
        groups: names to keep; empty for all.
        sets: names to keep; empty for all.
        limit: pictures of each set, in place of the file's own limit.

    Raises:
        ConfigError: the file is no grid, or a variant has an unknown or wrong setting.
    """
    known = (*(section for section in SECTIONS if section != "methods"), "groups")
    tree, path = read_tree(source, known, kind="ablate")
    declared = tree.get("groups")
    if not isinstance(declared, dict) or not declared:
        raise ConfigError(f"{path}: expected 'groups' of variants, got {declared!r}")
    for name in groups:
        if name not in declared:
            raise unknown("group", name, map(str, declared))
    variants = [
        variant
        for name, entry in declared.items()
        if not groups or name in groups
        for variant in _variants(str(name), entry)
    ]
    plan = read_plan(path, overrides, sets=sets, limit=limit, extra=("groups",))
    shared = [*(tree.get("set") or []), *overrides]
    methods = [
        BenchMethod(
            name=f"{variant.group}: {variant.name}" if variant.group else variant.name,
            reference="uosam",
            config=load_config(tree.get("config"), [*shared, *variant.overrides]),
        )
        for variant in (Variant(group="", name=FULL, overrides=()), *variants)
    ]
    return Ablation(
        plan=replace(plan, methods=(plan.methods[0], *methods)), variants=tuple(variants)
    )


def _variants(group: str, entry: Any) -> list[Variant]:
    """Read a group: names with overrides, or ``vary`` and ``values``, with ``with`` for all."""
    if not isinstance(entry, dict):
        raise ConfigError(f"groups.{group} must be a mapping, got {entry!r}")
    if "vary" not in entry:
        return [
            Variant(group=group, name=str(name), overrides=_overrides(group, str(name), texts))
            for name, texts in entry.items()
        ]
    for key in entry:
        if key not in ("vary", "values", "with"):
            raise unknown(f"key in groups.{group}", str(key), ("vary", "values", "with"))
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        raise ConfigError(f"groups.{group}.values must be a list, got {values!r}")
    shared = _overrides(group, "with", entry.get("with", []))
    key = str(entry["vary"])
    return [
        Variant(
            group=group,
            name=str(value),
            overrides=(*shared, f"{key}={value}"),
            grid=value if key == _GRID and type(value) is int else None,
        )
        for value in values
    ]


def _overrides(group: str, name: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"groups.{group}.{name} must be a list of section.key=value, got {texts!r}"
        )
    return tuple(texts)


def run_ablation(
    ablation: Ablation,
    out: Path,
    *,
    on_step: Callable[[Step], object] = lambda step: None,
    isolated: bool = True,
) -> list[AblationRow]:
    """Run what is not in ``out`` yet, and compare every variant with the full configuration.

    Args:
        ablation: the grid.
        out: folder of cells; that of a benchmark will do, whose cells are then shared.
        on_step: called after each cell.
        isolated: as in ``run_bench``.

    Returns:
        The full configuration, then the variants. Variants of equal settings share a cell.

    Raises:
        As ``run_bench``.
    """
    board = run_bench(ablation.plan, out, on_step=on_step, isolated=isolated)
    found: dict[str, list[Compared | None]] = {}
    seconds: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    for entry, compared in board.entries:
        found.setdefault(entry.method, []).append(compared)
        seconds.setdefault(entry.method, []).append(
            sum(entry.cell.seconds) / max(1, len(entry.cell.seconds))
        )
        if compared is None:
            errors.setdefault(entry.method, f"failed on {entry.data.name}: {entry.cell.error}")
    names = [method.name for method in ablation.plan.methods[1:]]
    variants = (Variant(group="", name=FULL, overrides=()), *ablation.variants)
    instances = [entry.data.instances for entry, _ in board.entries if entry.method == FULL]
    rows = []
    for name, variant in zip(names, variants, strict=True):
        if name in errors or FULL in errors:
            note = errors.get(name) or "there is nothing to compare with"
            rows.append(AblationRow(variant=variant, note=note))
            continue
        row = _row(
            variant,
            [compared for compared in found[name] if compared],
            [compared for compared in found[FULL] if compared],
            instances,
            ablation.plan.resamples,
        )
        rows.append(replace(row, seconds=sum(seconds[name]) / len(seconds[name])))
    return rows


def _row(
    variant: Variant,
    own: Sequence[Compared],
    full: Sequence[Compared],
    instances: Sequence[bool],
    resamples: int,
) -> AblationRow:
    scores, changes = {}, {}
    for key in SCORES:
        # Ids that number the objects of a picture are no classes.
        kept = [i for i, alone in enumerate(instances) if key != "mIoU" or not alone]
        if kept:
            mine, base = (
                average([part[i].method.scores[key] for i in kept]) for part in (own, full)
            )
            scores[key] = bootstrap(mine, resamples=resamples)
            if variant.name != FULL or variant.group:
                changes[key] = paired_bootstrap(base, mine, resamples=resamples)
    shares = [harmed(compared) for compared in own]
    return AblationRow(
        variant=variant, scores=scores, changes=changes, harmed=sum(shares) / len(shares)
    )

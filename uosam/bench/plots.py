"""Plots of a leaderboard as SVG; matplotlib is the optional extra ``bench``."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.bench.scores import BenchRow, Compared, Entry
from uosam.errors import ConfigError

SIZES = (0.0, 0.01, 0.05, 0.25, 1.0)
"""Bounds of object size, as a part of the picture."""
QUALITIES = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Bounds of the coarse mask's IoU."""

DEEPEST = 12.0
"""Points below the coarse masks at which plots end."""

Good = Sequence[tuple[Entry, Compared]]


def accuracy_against_time(rows: Sequence[BenchRow]) -> str:
    """Plot mean object IoU over seconds a picture, a point for each method; SVG text.

    Args:
        rows: of one set, or averages; rows without numbers are left out.
    """
    figure, axes = _figure()
    good = [row for row in rows if "object_IoU" in row.scores]
    coarse = [100 * row.scores["object_IoU"] for row in good if row.method == "coarse"]
    for value in coarse[:1]:
        axes.axhline(value, color="grey", linewidth=0.8, label="coarse masks")
    floor = coarse[0] - DEEPEST if coarse else -1.0
    for index, row in enumerate(row for row in good if row.method != "coarse"):
        value = 100 * row.scores["object_IoU"]
        colour, marker = _style(index)
        # One method that fails badly must not press all others into a line.
        name = row.method if value > floor else f"{row.method} (off: {value:.0f})"
        axes.scatter(
            [row.seconds], [max(value, floor)], color=colour, marker=marker, label=name, zorder=2
        )
    axes.set_xscale("log")
    _legend(figure)
    axes.set_xlabel("seconds a picture")
    axes.set_ylabel("object IoU, percent")
    return _svg(figure)


def gain_by_size(good: Good) -> str:
    """Plot the mean gain of object IoU by size of the object, a line for each method; SVG text."""

    def size(entry: Entry, compared: Compared) -> NDArray[np.float64]:
        table, objects = entry.cell.table, compared.method.objects
        scored = np.bincount(table.image, table.counts[:, 0], minlength=len(table.names))
        return np.asarray(objects.area / scored[objects.image], np.float64)

    return _gains(good, size, SIZES, "object, part of the picture")


def gain_by_quality(good: Good) -> str:
    """Plot the mean gain of object IoU by the IoU of the coarse mask; SVG text."""

    def quality(entry: Entry, compared: Compared) -> NDArray[np.float64]:
        return compared.coarse.objects.iou

    return _gains(good, quality, QUALITIES, "IoU of the coarse mask")


def accuracy_against_grid(points: Mapping[int, Any], label: str) -> str:
    """Plot object IoU over the number of proposal points, with intervals; SVG text.

    Args:
        points: intervals of the score in [0, 1], by points along a side; 0 is no global stage.
        label: of the vertical axis.
    """
    figure, axes = _figure()
    sides = sorted(points)
    values = [100 * points[side].value for side in sides]
    spread = [
        [100 * (points[side].value - points[side].low) for side in sides],
        [100 * (points[side].high - points[side].value) for side in sides],
    ]
    places = list(range(len(sides)))
    # Of too few pictures there are no intervals.
    axes.errorbar(places, values, yerr=np.nan_to_num(spread), marker="o", capsize=3)
    axes.set_xticks(places, [str(side * side) for side in sides])
    axes.set_xlabel("points asked for proposals")
    axes.set_ylabel(label)
    return _svg(figure)


def bin_means(
    values: NDArray[np.float64], gains: NDArray[np.float64], bounds: Sequence[float]
) -> list[tuple[float, int]]:
    """Average gains in bins of another value; a bin holds its upper bound.

    Returns:
        Mean (nan for an empty bin) and number of each bin.

    >>> bin_means(np.array([0.1, 0.5, 0.9]), np.array([1.0, 3.0, 5.0]), (0, 0.5, 1))
    [(2.0, 2), (5.0, 1)]
    """
    index = np.searchsorted(np.asarray(bounds[1:-1]), values)
    means = []
    for place in range(len(bounds) - 1):
        inside = gains[index == place]
        means.append((float(inside.mean()) if len(inside) else float("nan"), len(inside)))
    return means


def _gains(
    good: Good,
    measure: Callable[[Entry, Compared], NDArray[np.float64]],
    bounds: Sequence[float],
    label: str,
) -> str:
    values: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    gains: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for entry, compared in good:
        if entry.method != "coarse":
            values[entry.method].append(measure(entry, compared))
            lost = compared.coarse.objects.iou - compared.method.objects.iou
            gains[entry.method].append(-lost)
    figure, axes = _figure()
    axes.axhline(0, color="grey", linewidth=0.8)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
    for index, method in enumerate(values):
        means = bin_means(np.concatenate(values[method]), np.concatenate(gains[method]), bounds)
        if not index:
            names = [f"{name}\n({n})" for name, (_, n) in zip(names, means, strict=True)]
        places = range(len(means))
        colour, marker = _style(index)
        heights = [100 * mean for mean, _ in means]
        axes.plot(places, heights, marker=marker, color=colour, label=method, linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -DEEPEST))
    _legend(figure)
    axes.set_xlabel(f"{label} (number of objects)")
    axes.set_ylabel("gain of object IoU, points")
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    """Return a figure and its axes.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "plots need the package matplotlib, which is not installed; get it with "
            "pip install 'uosam[bench]'"
        ) from error
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """Return SVG text that is the same for the same plot."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "uosam", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _style(index: int) -> tuple[str, str]:
    """Return a colour and a marker; twenty pairs differ."""
    return f"C{index % 10}", "osD^"[index // 10 % 2 + 2 * (index % 2)]


def _legend(figure: Any) -> None:
    """Name the methods beside the plot, where no name hides another."""
    if figure.axes[0].get_legend_handles_labels()[1]:
        figure.legend(loc="outside right upper", frameon=False)

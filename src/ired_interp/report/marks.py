"""What a drawn panel shows, mark by mark, for the values that the page shows at the pointer."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

_MOST_CELLS = 2500  # of a matrix

Mark = tuple[str, float, float, str, str]  # series, x, y, intervals of both in words


def panel_marks(axes: Axes) -> dict[str, Any]:
    """Return the points of a panel that is drawn, with their places and values.

    Returns
    -------
    dict
        For JSON: `x` and `y`, the axes' labels; `names`, of series; `points`, each with its place
        as a fraction of width and height from the upper left, the index of its name, its x and its
        y in words.
    """
    size = axes.figure.bbox.width, axes.figure.bbox.height
    names: dict[str, int] = {}
    points = []
    low, high = axes.viewLim.min, axes.viewLim.max
    for name, x, y, *intervals in chain(_lines(axes), _segments(axes), _cells(axes)):
        point = np.array([x, y])
        if not np.all(np.isfinite(point) & (low <= point) & (point <= high)):
            continue
        place = axes.transData.transform(point) / size
        texts = _text(axes.xaxis, x) + intervals[0], _text(axes.yaxis, y) + intervals[1]
        index = names.setdefault(name, len(names))
        points.append([round(float(place[0]), 4), round(1 - float(place[1]), 4), index, *texts])
    return {"x": axes.get_xlabel(), "y": axes.get_ylabel(), "names": list(names), "points": points}


def _lines(axes: Axes) -> Iterator[Mark]:
    bars = {c.lines[0]: c for c in axes.containers if isinstance(c, ErrorbarContainer)}
    for line in axes.lines:
        owners = [c for c in bars.values() if line in c.lines[1]]
        if line.get_transform() != axes.transData or owners:
            continue  # a reference line across the panel, or the cap of a bar
        container = bars.get(line)
        name = _name(line.get_label() if container is None else container.get_label())
        points = np.asarray(line.get_xydata(), float)
        across, along = _intervals(container, 0, len(points)), _intervals(container, 1, len(points))
        for (x, y), in_x, in_y in zip(points, across, along, strict=True):
            yield name, float(x), float(y), in_x, in_y


def _intervals(container: ErrorbarContainer | None, axis: int, count: int) -> list[str]:
    """Name the reach of error bars along x (0) or y (1), where they have any."""
    has = container is not None and (container.has_xerr, container.has_yerr)[axis]
    if container is None or not has:
        return [""] * count
    segments = container.lines[2][-axis if container.has_xerr else 0].get_segments()
    return [_reach(np.reshape(segment, (-1, 2))[:, axis]) for segment in segments]


def _reach(ends: np.ndarray) -> str:
    """Name an interval; "" where it has no length, or no finite end."""
    if len(ends) < 2 or ends[0] == ends[-1]:
        return ""
    return f" ({ends[0]:.4g} to {ends[-1]:.4g})"


def _segments(axes: Axes) -> Iterator[Mark]:
    """Short bars, such as exact values, by their middles; not the bars of errors."""
    errors = {
        id(bar)
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
        for bar in container.lines[2]
    }
    for collection in axes.collections:
        if isinstance(collection, LineCollection) and id(collection) not in errors:
            for segment in collection.get_segments():
                if len(segment) >= 2:  # ends that are not finite are left out
                    x, y = np.asarray(segment).mean(0)
                    yield _name(collection.get_label()), float(x), float(y), "", ""


def _cells(axes: Axes) -> Iterator[Mark]:
    for image in axes.images:
        values = np.asarray(image.get_array())
        if values.ndim == 2 and values.size <= _MOST_CELLS:
            for (row, column), value in np.ndenumerate(values):
                yield f"{value:.4g}", float(column), float(row), "", ""


def _name(label: object) -> str:
    """Return a series' name; one that the legend leaves out begins with an underscore."""
    name = str(label)
    return "" if name.startswith(("_child", "_nolegend_")) else name.removeprefix("_")


def _text(axis: Axis, value: float) -> str:
    """Write a value as its axis does: tick label, percentage, whole k or number."""
    formatter, ticks = axis.get_major_formatter(), np.asarray(axis.get_majorticklocs())
    if not ticks.size:
        return ""
    if isinstance(formatter, FixedFormatter):
        return str(formatter.seq[int(np.abs(ticks - value).argmin())])
    if isinstance(formatter, FuncFormatter):
        if (text := formatter(value)).endswith("%"):
            return text
        nearest = ticks[np.abs(ticks - value).argmin()]
        if isinstance(axis.get_major_locator(), FixedLocator) and abs(nearest - value) < 0.5:
            return formatter(nearest)
    if axis.get_label_text().startswith("landscape k"):
        return f"{value:.0f}"
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"

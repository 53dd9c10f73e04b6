"""What a study found: each quantity over its places, seed by seed, beside truth or chance."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ired_interp.report.figure import Figure, Panel
from ired_interp.report.style import DASHES, GRID, INK, MUTED, log_if_positive, series_line
from ired_interp.results.statement import Findings, Point, Statement

_CAPTION = (
    "Small dots are single seeds, marks their means, bars the standard error. Filled: the claim "
    "holds, or none is made; hollow: it fails, or the seeds do not tell. Shaded: where the claim "
    "says that values lie. Black lines: what they are held against; where that differs between "
    "trainings, it is a mark in their colours."
)
_WIDTH = 0.7  # of a place, which the trainings share
_TOLD = 0.01  # of an axis, by which two values differ that the eye tells apart
_ROWS = 8  # that a panel of the usual height has room for
_SHADE = GRID
_RULES = ("_", "x", "+", "2", "1")

Look = Mapping[str, Mapping[str, Any]]  # of lines, by their names in the legend


def picture(found: Findings) -> Figure | None:
    """Return a figure with a panel for each quantity; None where nothing is there yet."""
    shown = [statement for statement in found.statements if statement.points]
    if not shown:
        return None
    points = [point for statement in shown for point in statement.points]
    trainings = dict.fromkeys(point.training for point in points)
    names = dict.fromkeys(name for point in points for name in point.beside)
    looks = {name: series_line(i) for i, name in enumerate(trainings)}
    rules = {
        name: {"linestyle": DASHES[i % len(DASHES)], "marker": _RULES[i % len(_RULES)]}
        for i, name in enumerate(names)
    }
    panels = [
        Panel(
            _capital(one.title),
            partial(_over if one.along else _list, one, looks, rules),
            1.0 if one.along else max(1.0, len(one.points) / _ROWS),
        )
        for one in shown
    ]
    return Figure(found.study, "What the study found", _CAPTION, panels, legend=True)


def _over(statement: Statement, looks: Look, rules: Look, axes: Axes) -> None:
    """Draw values over places: a line for each training."""
    places = list(dict.fromkeys(point.place for point in statement.points))
    if numbered := all(map(_is_number, places)):
        places.sort(key=float)
    trainings = list(dict.fromkeys(point.training for point in statement.points))
    width = _WIDTH / len(trainings)
    apart = {
        (point.training, point.place): places.index(point.place)
        + (trainings.index(point.training) - (len(trainings) - 1) / 2) * width
        for point in statement.points
    }
    for training in trainings:
        mine = [point for point in statement.points if point.training == training]
        mine.sort(key=lambda point: places.index(point.place))
        x = [apart[point.training, point.place] for point in mine]
        joined = {} if numbered else {"linestyle": ""}
        _marks(axes, mine, x, {**looks[training], **joined}, training)
    _fit(axes, statement, "y")
    for place in places:
        here = [point for point in statement.points if point.place == place]
        x = [apart[point.training, point.place] for point in here]
        _held_against(axes, here, x, places.index(place), looks, rules)
        _shade(axes, here, places.index(place))
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(
        "landscape k (0: sharpest)" if statement.along == "landscape" else statement.along
    )


def _list(statement: Statement, looks: Look, rules: Look, axes: Axes) -> None:
    """Draw one value of each training, the trainings below each other."""
    points, count = statement.points, len(statement.points)
    rows = list(range(count))
    for row, point in zip(rows, points, strict=True):
        look = {**looks[point.training], "linestyle": ""}
        _marks(axes, [point], [row], look, point.training, "x")
        axes.annotate(
            point.training,
            (0.02, row),
            xycoords=("axes fraction", "data"),
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=7.5,
            color=MUTED,
        )
    _fit(axes, statement, "x")
    middle = (count - 1) / 2
    _held_against(axes, points, rows, middle, looks, rules, count / 2, "x")
    _shade(axes, points, middle, count / 2, "x")
    axes.set_yticks([])
    axes.set_ylim(count - 0.5, -1.0)


def _marks(
    axes: Axes,
    points: Sequence[Point],
    places: Sequence[float],
    look: Mapping[str, Any],
    name: str,
    side: str = "y",
) -> None:
    """Draw means with their errors, and each seed."""
    means = [point.mean for point in points]
    errors = [0.0 if math.isnan(point.error) else point.error for point in points]
    every = [(place, v) for place, p in zip(places, points, strict=True) for v in p.values]
    hollow = [
        (place, p.mean)
        for place, p in zip(places, points, strict=True)
        if p.verdict in ("fails", "open")
    ]

    style: dict[str, Any] = {
        f"{side}err": errors,
        "capsize": 2,
        "linewidth": 0.9,
        "elinewidth": 1,
        **look,
    }
    x, y = _turned(zip(places, means, strict=True), side)
    axes.errorbar(x, y, label=name, **style)
    bare: dict[str, Any] = {"color": look["color"], "linestyle": "", "label": "_nolegend_"}
    axes.plot(*_turned(every, side), **bare, marker=".", markersize=2.5, alpha=0.55)
    axes.plot(
        *_turned(hollow, side), **bare, marker=look["marker"], markerfacecolor="white", zorder=3
    )


def _fit(axes: Axes, statement: Statement, side: str) -> None:
    """Show all values and what they are held against; by decades where these span several."""
    values = [v for point in statement.points for v in (*point.values, *point.beside.values())]
    finite = [value for value in values if math.isfinite(value)]
    log_if_positive(axes, side, finite)
    low, high = min(finite), max(finite)
    if getattr(axes, f"get_{side}scale")() == "log":
        reach = (high / low) ** 0.06
        limits = low / reach, high * reach
    else:
        reach = 0.06 * (high - low or abs(high) or 1.0)
        limits = low - reach, high + reach
    getattr(axes, f"set_{side}lim")(*limits)


def _held_against(
    axes: Axes,
    points: Sequence[Point],
    places: Sequence[float],
    middle: float,
    looks: Look,
    rules: Look,
    reach: float = 0.5,
    side: str = "y",
) -> None:
    """Draw what values are held against: a line where all agree, else a mark for each."""
    for name in dict.fromkeys(itertools.chain.from_iterable(point.beside for point in points)):
        found = [
            (place, value, looks[point.training]["color"])
            for place, point in zip(places, points, strict=True)
            if math.isfinite(value := point.beside.get(name, math.nan))
        ]
        values = [value for _, value, _ in found]
        rule = rules[name]
        axes.plot([], [], color=INK, linewidth=1.1, label=name, **rule)
        if values and _same(axes, side, values):
            ends = _turned([(middle - reach, values[0]), (middle + reach, values[0])], side)
            style = {"color": INK, "linewidth": 1.1, "linestyle": rule["linestyle"]}
            axes.plot(*ends, label="_nolegend_", **style)
            continue
        for place, value, colour in found:
            style = {"color": colour, "marker": rule["marker"], "markeredgewidth": 1.3}
            axes.plot(*_turned([(place, value)], side), label=f"_{name}", **style)


def _shade(
    axes: Axes, points: Sequence[Point], middle: float, reach: float = 0.5, side: str = "y"
) -> None:
    """Shade where the claim says that all of the values lie, if it says the same of them."""
    claims = [point.claimed for point in points if point.claimed]
    bounds = np.clip(np.array(claims), *getattr(axes, f"get_{side}lim")())
    if claims and all(_same(axes, side, column) for column in bounds.T):
        fill = axes.fill_between if side == "y" else axes.fill_betweenx
        ends = [middle - reach, middle + reach]
        fill(ends, *bounds.mean(0), color=_SHADE, alpha=0.6, linewidth=0, zorder=0)


def _turned(pairs: Iterable[tuple[float, float]], side: str) -> np.ndarray:
    """Return places and values as x and y, or where values lie along x as y and x."""
    columns = np.reshape(np.asarray(list(pairs), float), (-1, 2)).T
    return columns if side == "y" else columns[::-1]


def _same(axes: Axes, side: str, values: Sequence[float] | np.ndarray) -> bool:
    """Whether values cannot be told apart in the axes."""
    axis = getattr(axes, f"{side}axis")
    low, high = axis.get_transform().transform(getattr(axes, f"get_{side}lim")())
    return bool(np.ptp(axis.get_transform().transform(values)) < _TOLD * (high - low))


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

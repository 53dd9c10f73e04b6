"""Shares of right answers, of all problems and by how hard they are, beside their floors."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.style import INK, MARKERS, MUTED, series_colour
from ired_interp.results.names import PERFECT

Data = Sequence[tuple[Group, list[xr.Dataset]]]

# "free cells at 17 givens", "accuracy at distance 6 or more"
_BY_NUMBER = re.compile(r"(?P<what>.+) at (?P<unit>\D+ )?(?P<number>\d+)(?P<rest> \D+)?")


class Point(NamedTuple):
    """A measure of some problems only: of what, by what number, and its name in the result."""

    what: str
    unit: str
    number: int
    name: str


def by_number(name: str) -> Point | None:
    """Read the name of a measure that counts problems by a number.

    Examples
    --------
    >>> by_number("whole boards at 17 givens")[:3]
    ('whole boards', 'givens', 17)
    >>> by_number("accuracy at distance 6 or more")[:3]
    ('accuracy', 'distance', 6)
    """
    match = _BY_NUMBER.fullmatch(name)
    if match is None:
        return None
    unit = (match["unit"] or match["rest"] or "").strip()
    return Point(match["what"], unit, int(match["number"]), name)


def figures(section: Section) -> list[Figure]:
    """Draw all measures on each distribution, and curves of those counted by a number."""
    data = [(group, [r for r in found if "measured" in r]) for group, found in section.last()]
    data = [(group, found) for group, found in data if found]
    if not data:
        return []
    first = data[0][1][0]
    every = list(
        dict.fromkeys(str(m) for _, found in data for r in found for m in r["measure"].values)
    )
    points = [point for name in every if (point := by_number(name))]
    overall = [name for name in every if by_number(name) is None]
    panels = []
    for variant in map(str, first["variant"].values):
        shown = [name for name in overall if _known(data, variant, name)]
        panels.append(
            Panel(
                f"{variant} distribution", _overview(data, variant, shown), 0.3 + 0.22 * len(shown)
            )
        )
        for what, unit in dict.fromkeys((p.what, p.unit) for p in points):
            along = [p for p in points if (p.what, p.unit) == (what, unit)]
            along = [p for p in along if _known(data, variant, p.name)]
            if len(along) > 1:
                title = f"{what} by {'number of ' if unit.endswith('s') else ''}{unit}, {variant}"
                panels.append(Panel(title, _curve(data, variant, along)))
    several = any(len(found) > 1 for _, found in data)
    steps = sorted({_most(found) for _, found in data})
    inner = f" after {' or '.join(map(str, steps))} inner steps per landscape" if any(steps) else ""
    caption = (
        f"Shares of {first.attrs['problems']} {first.attrs['split']} problems of "
        f"{first.attrs['task']}{inner}, {section.weights} weights, {after_steps(data)}; right is "
        "better. Filled: the model; bars: "
        f"{'the range of its seeds' if several else 'two standard errors to either side'}. Open "
        "and grey: predictors that need no learning, the best of them named; in curves the one "
        "that is best on all problems together (dashed), and a perfect energy where it is known "
        "(dotted)."
    )
    table = _table(data, every)
    title = "Right answers beside their floors"
    return [Figure(f"{section.probe}-shares", title, caption, panels, table)]


def right_answers(results: Sequence[xr.Dataset], variant: str) -> str:
    """Say what shares of answers are right beside their floors; "" where none is measured."""
    if not all("measured" in result for result in results):
        return ""
    said = []
    overall = [name for m in results[0]["measure"].values if by_number(name := str(m)) is None]
    for name in overall[:2]:
        share = _share(results, variant, name)
        if share is not None:
            floors = _trivial([results], variant, name)
            best = next((f" (“{floor}”: {value:.1%})" for floor, value in floors.items()), "")
            said.append(f"{name} {share[0]:.1%}{best}")
    return f" Right answers: {', '.join(said)}." if said else ""


def _most(results: Sequence[xr.Dataset]) -> int:
    """Return the largest number of inner steps that was tested."""
    return max(int(steps) for result in results for steps in result["inner_steps"].values)


def _share(
    results: Sequence[xr.Dataset], variant: str, name: str, steps: int | None = None
) -> tuple[float, float, float] | None:
    """Return the model's share, and the ends of its interval or the range of its seeds."""
    steps = _most(results) if steps is None else steps
    chosen = [
        r.sel(variant=variant, measure=name, inner_steps=steps)
        for r in results
        if variant in r["variant"] and name in r["measure"] and steps in r["inner_steps"]
    ]
    values = [float(r["measured"]) for r in chosen if np.isfinite(r["measured"])]
    if not values:
        return None
    if len(values) > 1:
        return float(np.mean(values)), min(values), max(values)
    bar = 2 * float(np.nan_to_num(chosen[0]["measured_standard_error"]))
    return values[0], max(0.0, values[0] - bar), min(1.0, values[0] + bar)


def _known(data: Data, variant: str, name: str) -> bool:
    return any(_share(results, variant, name) for _, results in data)


def _floors(tested: Sequence[Sequence[xr.Dataset]], variant: str, name: str) -> dict[str, float]:
    """Return what predictors score, the best first; a perfect energy is among them."""
    found: dict[str, float] = {}
    for results in tested:
        for r in results:
            if variant in r["variant"] and name in r["measure"]:
                row = r["measured_floor"].sel(variant=variant, measure=name)
                values = zip(row["predictor"].values, row.values, strict=True)
                found = {str(p): float(v) for p, v in values if np.isfinite(v)} | found
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _trivial(tested: Sequence[Sequence[xr.Dataset]], variant: str, name: str) -> dict[str, float]:
    return {p: v for p, v in _floors(tested, variant, name).items() if p != PERFECT}


def _overview(data: Data, variant: str, names: Sequence[str]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for place, name in enumerate(names):
            y, floors = -place, _trivial([r for _, r in data], variant, name)
            axes.axhline(y, color=MUTED, linewidth=0.5)
            for floor, value in floors.items():
                axes.plot(value, y, "o", color=MUTED, mfc="none", label=f"_{name}: {floor}")
            said = []
            for group, results in data:
                share = _share(results, variant, name)
                if share is not None:
                    _model_mark(axes, group, [share[0]], [y], [share], along="x", label=name)
                    said.append(_percent(share))
            rows = [(name, " | ".join(said), 3.5, "bottom", INK)]
            if floors:
                best = next(iter(floors))
                rows.append((best, f"{floors[best]:.1%}", -4.5, "top", MUTED))
            for left, right, shift, side, colour in rows:
                for x, text, end in ((0, left, "left"), (1, right, "right")):
                    axes.annotate(
                        text,
                        (x, y),
                        (0, shift),
                        xycoords=("axes fraction", "data"),
                        textcoords="offset points",
                        ha=end,
                        va=side,
                        fontsize=7.5,
                        color=colour,
                    )
        axes.set_ylim(0.5 - len(names), 0.5)
        axes.set_yticks([])
        axes.set_xlim(-0.02, 1.02)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("share of right answers")

    return draw


def _curve(data: Data, variant: str, points: Sequence[Point]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        lowest = [1.0]
        for group, results in data:
            shares = {p.number: s for p in points if (s := _share(results, variant, p.name))}
            if shares:
                values = [share[0] for share in shares.values()]
                name = group.name if len(data) > 1 else "model"
                _model_mark(axes, group, list(shares), values, list(shares.values()), "y", name)
                lowest += [share[1] for share in shares.values()]
        for name, dash in ((_best(data, variant, points), "--"), (PERFECT, ":")):
            floor = {
                p.number: found[name]
                for p in points
                if name in (found := _floors([r for _, r in data], variant, p.name))
            }
            if floor:
                axes.plot(
                    list(floor), list(floor.values()), dash, color=MUTED, linewidth=1.2, label=name
                )
                lowest += floor.values()
        low = min(lowest)
        head = 0.08 + 0.1 * len(axes.get_legend_handles_labels()[1])  # room for the legend
        axes.set_ylim(low - 0.06 * (1.001 - low), 1 + head * (1.001 - low))
        numbers = [p.number for p in points]
        if len(numbers) <= 12:
            last = "+" if points[-1].name.endswith("or more") else ""
            axes.set_xticks(numbers, [*map(str, numbers[:-1]), f"{numbers[-1]}{last}"])
        axes.set_xlabel(points[0].unit)
        axes.set_ylabel(points[0].what)
        axes.set_yticks([tick for tick in axes.get_yticks() if low - 0.06 <= tick <= 1.0001])
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.legend(loc="upper left")

    return draw


def _best(data: Data, variant: str, points: Sequence[Point]) -> str:
    """Name the trivial predictor that is best on all problems, or on most numbers."""
    floors = _trivial([r for _, r in data], variant, points[0].what)
    if floors:
        return next(iter(floors))
    best = [
        next(iter(found))
        for p in points
        if (found := _trivial([r for _, r in data], variant, p.name))
    ]
    return max(best, key=best.count, default="")


def _model_mark(
    axes: Axes,
    group: Group,
    x: Sequence[float],
    y: Sequence[float],
    shares: Sequence[tuple[float, float, float]],
    along: str,
    label: str,
) -> None:
    reach = np.array([[value - low, high - value] for value, low, high in shares]).T
    axes.errorbar(
        x,
        y,
        yerr=reach if along == "y" else None,
        xerr=reach if along == "x" else None,
        color=series_colour(group.index),
        marker=MARKERS[group.index % len(MARKERS)],
        linewidth=1.2,
        capsize=2,
        zorder=3,
        label=label,
    )


def _percent(share: tuple[float, float, float]) -> str:
    value, low, high = share
    return f"{100 * value:.1f} ± {50 * (high - low):.1f} %"


def _table(data: Data, names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for variant in map(str, data[0][1][0]["variant"].values):
        for name in names:
            row: dict[str, object] = {"distribution": variant, "measure": name}
            for group, results in data:
                for steps in sorted({int(s) for r in results for s in r["inner_steps"].values}):
                    share = _share(results, variant, name, steps)
                    if share is not None:
                        own = group.name if len(data) > 1 else "model"
                        label = f"{own}, {steps} inner steps" if steps else own
                        row[label], row[f"{label}, ±"] = share[0], (share[2] - share[1]) / 2
            if len(row) > 2:
                rows.append(row | _floors([r for _, r in data], variant, name))
    return pd.DataFrame(rows)

"""Errors on a fixed set of problems, beside those of trivial and perfect predictors."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures import shares
from ired_interp.report.style import INK, MARKERS, MUTED, plain_log_ticks, series_colour

_REACH = 30  # how far left of the best error the axis goes

Row = tuple[str, float, float, str, str]  # label, value, half width of its interval, colour, marker


def figures(section: Section) -> list[Figure]:
    """One panel for each distribution; before it what shares of answers are right, where known."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    split = str(first.attrs.get("split", "test"))
    by_variant = {str(variant): _rows(data, str(variant)) for variant in first["variant"].values}
    most = max(map(len, by_variant.values()))
    panels = [
        Panel(
            f"{split} set, {variant} distribution",
            _drawer(rows, most),
            height=max(0.6, 0.3 + 0.13 * most),
        )
        for variant, rows in by_variant.items()
    ]
    table = [
        (variant, label, value, half)
        for variant, rows in by_variant.items()
        for label, value, half, *_ in rows
    ]
    several = any(len(results) > 1 for _, results in data)
    bars = (
        "the range from the lowest to the highest seed"
        if several
        else "two standard errors to either side"
    )
    caption = (
        f"Mean squared error per entry of y on {first.attrs.get('problems', '?')} {split} problems "
        f"of {first.attrs.get('task', 'the task')}, "
        "logarithmic; left is better. Filled: the model, after 5, 10, … inner steps per landscape "
        "where several are shown; bars span "
        f"{bars}, as the numbers behind ± do. Open: predictors that need no learning, and the "
        "exact energy where it is known (an arrow: farther left). "
        f"Trained on the {first.attrs.get('trained_on', 'same')} distribution; {section.weights} "
        "weights."
    )
    numbers = pd.DataFrame(
        table, columns=["distribution", "predictor", "mean squared error", "half width of bar"]
    )
    title = f"{split.capitalize()} error beside its floors"
    return [
        *shares.figures(section),
        Figure(section.probe, title, caption, panels, numbers),
    ]


def _rows(data: Sequence[tuple[Group, list[xr.Dataset]]], variant: str) -> list[Row]:
    rows: list[Row] = []
    steps = sorted(
        {int(s) for _, results in data for r in results for s in r["inner_steps"].values}
    )
    for group, results in data:
        for count in steps:
            here = [
                r.sel(variant=variant, inner_steps=count)
                for r in results
                if count in r["inner_steps"] and variant in r["variant"]
            ]
            if not here:
                continue
            errors = [float(r["error"]) for r in here]
            half = (
                float(np.ptp(errors)) / 2 if len(here) > 1 else 2 * float(here[0]["standard_error"])
            )
            middle = (min(errors) + max(errors)) / 2 if len(here) > 1 else errors[0]
            name = group.name if len(data) > 1 or len(group.runs) > 1 else "model"
            label = f"{name}, {count} inner steps" if count else name
            rows.append(
                (
                    label,
                    middle,
                    half,
                    series_colour(group.index),
                    MARKERS[group.index % len(MARKERS)],
                )
            )
    floors: dict[str, list[float]] = {}
    for _, results in data:
        for result in results:
            if variant in result["variant"]:
                for name in result["predictor"].values:
                    floors.setdefault(str(name), []).append(
                        float(result["floor"].sel(variant=variant, predictor=name))
                    )
    for name, values in floors.items():
        if np.isfinite(values).any():
            rows.append((name, float(np.nanmean(values)), 0.0, MUTED, "o"))
    return sorted(rows, key=lambda row: row[1])


def with_error(value: float, half: float) -> str:
    """Write a value with half of its interval, both to the digits that the interval lets count.

    Examples
    --------
    >>> with_error(0.0027993, 0.000085)
    '0.002799 ± 0.000085'
    >>> with_error(1.23456, 0.0)
    '1.23'
    """
    if not half > 0 or not np.isfinite(half):
        return f"{value:.3g}"
    digits = max(0, 1 - int(np.floor(np.log10(half))))
    if digits > 8:
        return f"{value:.3g} ± {half:.1g}"
    return f"{value:.{digits}f} ± {half:.{digits}f}"


def _drawer(rows: list[Row], most: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        learned = [value for _, value, _, colour, _ in rows if colour != MUTED]
        shown = [
            value for _, value, *_ in rows if value >= min(learned) / _REACH
        ]  # a perfect energy may lie at 1e-16
        low, high = min(shown) / 2, max(shown) * 1.5
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        for place, (label, value, half, colour, marker) in enumerate(rows):
            y, floor = most - place, colour == MUTED
            if value < low:
                axes.plot(
                    low * (high / low) ** 0.015, y, color=colour, marker="<", markerfacecolor="none"
                )
            else:
                axes.plot(
                    [low, value],
                    [y, y],
                    color=colour,
                    linewidth=0.9,
                    alpha=0.8,
                    linestyle=":" if floor else "-",
                )
                face = "none" if floor else colour
                axes.errorbar(
                    value,
                    y,
                    xerr=half or None,
                    color=colour,
                    marker=marker,
                    markerfacecolor=face,
                    capsize=2,
                    label=label,
                )
            for x, shift, text, side in (
                (0, 2, label, "left"),
                (1, 0, with_error(value, half), "right"),
            ):
                axes.annotate(
                    text,
                    (x, y),
                    (shift, 3.5),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    ha=side,
                    va="bottom",
                    fontsize=7.5,
                    color=MUTED if floor else INK,
                )
        axes.set_ylim(0.5, most + 0.9)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("mean squared error per entry")
        plain_log_ticks(axes, "x")

    return draw

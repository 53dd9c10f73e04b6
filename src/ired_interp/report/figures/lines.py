"""Curves of groups of runs, with the spread of their seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group
from ired_interp.report.style import INK, MARKERS, plain_log_ticks, series_colour

_MOST_POINTS = 400


def spread_line(
    axes: Axes,
    group: Group,
    curves: Sequence[xr.DataArray],
    along: str = "step",
    marked: bool = False,
) -> None:
    """Draw the mean of a group's curves, and of several a band from the lowest to the highest."""
    joined = xr.concat(
        [c.dropna(along) for c in curves], "run", join="outer", coords="minimal", compat="override"
    )
    if joined.sizes[along] == 0:
        return
    joined = thinned(joined, along)
    x, colour = joined[along].values, series_colour(group.index)
    counted = joined.notnull().sum("run").values
    complete = counted == counted.max()  # a step that only some seeds have would make the mean jump
    mean = joined.mean("run").values
    marker = MARKERS[group.index % len(MARKERS)] if marked or len(x) <= 12 else None
    axes.plot(x[complete], mean[complete], color=colour, marker=marker, label=group.name)
    if len(curves) > 1:
        low, high = joined.min("run").values, joined.max("run").values
        axes.fill_between(
            x[complete], low[complete], high[complete], color=colour, alpha=0.2, linewidth=0
        )


def by_landscape(
    axes: Axes,
    data: Sequence[tuple[Group, Sequence[xr.Dataset]]],
    name: str,
    label: str,
    exact: str | None = None,
    percent: bool = False,
) -> None:
    """Draw a variable over landscape.

    Of one run with two standard errors, or its interval, where they are known (an interval without
    end reaches to the top); of several as mean with lowest and highest.

    `exact` names the variable that holds a perfect model's value.
    """
    values = []
    for place, (group, results) in enumerate(data):
        found = [r[name] for r in results if name in r]
        if not found:
            continue
        joined = xr.concat(found, "run", join="outer", coords="minimal", compat="override")
        mean = joined.mean("run").values
        if len(found) > 1:
            bars = np.stack([mean - joined.min("run").values, joined.max("run").values - mean])
        else:
            bars = error_bars(next(r for r in results if name in r), name)
        x = joined["landscape"].values + (place - (len(data) - 1) / 2) * 0.14
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        with_bars(axes, x, mean, bars, color=colour, marker=marker, linewidth=1, label=group.name)
        values += [mean - bars[0], np.where(np.isfinite(bars[1]), mean + bars[1], mean)]
    theory = next((r for _, results in data for r in results if exact and exact in r), None)
    if theory is not None and exact:
        k = theory["landscape"].values
        axes.hlines(
            theory[exact].values,
            k - 0.4,
            k + 0.4,
            color=INK,
            linewidth=1.3,
            label="exact (perfect model)",
        )
    axes.set_xticks(data[0][1][0]["landscape"].values)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("landscape k (0: sharpest)")
    axes.set_ylabel(label)
    if percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.set_ylim(0, max(0.01, 1.08 * float(np.nanmax(values))))
    legend(axes, [group for group, _ in data])


def with_bars(
    axes: Axes, x: np.ndarray, y: np.ndarray, bars: np.ndarray, across: bool = False, **style: Any
) -> None:
    """Draw values with bars (2, n) below and above them, or `across`, to their left and right.

    A bar without end is an arrow.
    """
    endless = np.isinf(bars[1])
    finite = np.where(np.isfinite(bars), bars, 0)
    side = "x" if across else "y"
    limits: dict[str, Any] = {
        f"{side}err": finite,
        f"{side}lolims" if across else "lolims": endless,
    }
    axes.errorbar(x, y, **limits, capsize=2, elinewidth=1, **style)
    # Of an endless bar, Matplotlib leaves out what lies below.
    below = {"color": style["color"], "linewidth": 1}
    if across:
        axes.hlines(y[endless], (x - finite[0])[endless], x[endless], **below)
    else:
        axes.vlines(x[endless], (y - finite[0])[endless], y[endless], **below)


def error_bars(result: xr.Dataset, name: str) -> np.ndarray:
    """Take two standard errors, or the interval, of a variable as bars below and above it.

    Parameters
    ----------
    result : xarray.Dataset
        That has it.
    name : str
        The variable.

    Returns
    -------
    numpy.ndarray
        (2, …); 0 where no error is known, infinite where an interval has no end.
    """
    value = result[name].values
    if f"{name}_low" in result:
        with np.errstate(invalid="ignore"):
            bars = np.stack([value - result[f"{name}_low"], result[f"{name}_high"] - value])
    elif f"{name}_error" in result:
        bars = np.stack([2 * result[f"{name}_error"].values] * 2)
    else:
        bars = np.zeros((2, *value.shape))
    return np.where(np.isnan(bars), 0, bars)


def spread_bars(results: Sequence[xr.Dataset], name: str) -> np.ndarray:
    """Take two standard errors of one run, or the range of several about their mean, as bars."""
    if len(results) == 1:
        return error_bars(results[0], name)
    stacked = np.stack([r[name].values for r in results])
    return np.stack([stacked.mean(0) - stacked.min(0), stacked.max(0) - stacked.mean(0)])


def matrix(
    axes: Axes,
    values: np.ndarray,
    names: Sequence[Any] | np.ndarray,
    low: float,
    high: float,
    label: str,
    scale: Literal["linear", "log"] = "linear",
) -> None:
    """Draw a square matrix with its scale: cividis from 0 or by decades, blue to red around 0."""
    image = axes.imshow(
        values,
        norm=scale,
        cmap="cividis" if low == 0 or scale == "log" else "RdBu_r",
        interpolation="nearest",
    )
    image.set_clim(low, high)
    most = 12 if max(len(str(name)) for name in names) < 3 else 6
    places = range(0, len(names), -(-len(names) // most))
    axes.set_xticks(places, [str(names[i]) for i in places])
    axes.set_yticks(places, [str(names[i]) for i in places])
    axes.grid(visible=False)
    axes.set_xlabel(label)
    axes.set_ylabel(label)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85)
    if scale == "log":
        bar.ax.set_ylim(low, high)
        plain_log_ticks(bar.ax, "y")
    bar.outline.set_visible(False)


def with_spread(title: str, results: Sequence[xr.Dataset], name: str) -> dict[str, float]:
    """Make cells of a table: a value and its standard error, of several runs over the runs.

    Parameters
    ----------
    title : str
        Heading of the value.
    results : sequence of xarray.Dataset
        Of one place each run, so that the variable is a number.
    name : str
        The variable.

    Returns
    -------
    dict of str to float
        Mean and, in a column of its own, what belongs after ±; NaN where that is not known.
    """
    values = [float(r[name]) for r in results]
    if len(values) > 1:
        error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    else:
        error = float(results[0].get(f"{name}_error", np.nan))
    return {title: float(np.mean(values)), f"± {title}": error}


def landscape_table(
    data: Sequence[tuple[Group, list[xr.Dataset]]],
    columns: Mapping[str, str],
    exact: Sequence[str] = (),
) -> pd.DataFrame:
    """Make a table of a row for each group and landscape.

    Parameters
    ----------
    data : sequence of (Group, list of xarray.Dataset)
        Results of the runs of each group, over landscapes.
    columns : mapping of str to str
        Variables and their headings; those that a group lacks are left out.
    exact : sequence of str
        Which of them have no error and are the same in all runs.

    Returns
    -------
    pandas.DataFrame
        With a column for what belongs after ± beside each that is not exact.
    """
    rows = []
    for group, results in data:
        for k in results[0]["landscape"].values:
            here = [r.sel(landscape=k) for r in results if k in r["landscape"]]
            row: dict[str, object] = {"runs": group.name, "k": int(k)}
            for name, title in columns.items():
                if name in here[0]:
                    known = name in exact
                    row |= (
                        {title: here[0][name].item()} if known else with_spread(title, here, name)
                    )
            rows.append(row)
    return pd.DataFrame(rows)


def thinned(curve: xr.DataArray, along: str) -> xr.DataArray:
    """Return a long curve averaged over equal stretches, so that a page stays small."""
    factor = int(np.ceil(curve.sizes[along] / _MOST_POINTS))
    if factor == 1:
        return curve
    return curve.coarsen({along: factor}, boundary="pad").mean()


def legend(axes: Axes, groups: Sequence[Group]) -> None:
    """Return a legend, where there is something to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1 or len(groups) > 1:
        axes.legend(handles, labels)

"""Curves of groups of runs, with the spread of their seeds."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group
from ired_interp.report.style import MARKERS, series_colour

_MOST_POINTS = 400


def spread_line(axes: Axes, group: Group, curves: Sequence[xr.DataArray], along: str = "step", marked: bool = False) -> None:
    """The mean of a group's curves over `along`, and where they are several, a band from the lowest to the highest."""
    joined = xr.concat([c.dropna(along) for c in curves], "run", join="outer", coords="minimal", compat="override")
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
        axes.fill_between(x[complete], low[complete], high[complete], color=colour, alpha=0.2, linewidth=0)


def thinned(curve: xr.DataArray, along: str) -> xr.DataArray:
    """A long curve averaged over equal stretches, so that a page stays small."""
    factor = int(np.ceil(curve.sizes[along] / _MOST_POINTS))
    if factor == 1:
        return curve
    return curve.coarsen({along: factor}, boundary="pad").mean()


def legend(axes: Axes, groups: Sequence[Group], **options: object) -> None:
    """A legend, where there is something to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1 or len(groups) > 1:
        axes.legend(handles, labels, **options)

"""Measures by family of directions, over landscape."""

from collections.abc import Callable, Sequence

import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.figures.lines import spread_bars
from ired_interp.report.style import INK, MUTED, series_line

_LENGTH = 0.5  # of displacements, in norms of the answer
_RANDOM = "random"


def by_family(
    results: Sequence[xr.Dataset],
    name: str,
    label: str,
    exact: str | None = None,
    line: float | None = None,
    leave_out: str = "",
) -> Callable[[Axes], None]:
    """Make what draws a variable (landscape, family) of one group of runs.

    Parameters
    ----------
    results : sequence of xarray.Dataset
        One a run; bars are two standard errors, of several runs their range.
    name, label : str
        The variable, and what it is called.
    exact : str, optional
        The variable that holds a perfect model's value.
    line : float, optional
        Where a horizontal line tells something.
    leave_out : str
        A family not to draw.

    Returns
    -------
    callable
        Draws into axes.
    """

    def draw(axes: Axes) -> None:
        names = [str(n) for n in results[0]["family"].values if n != leave_out]
        k = results[0]["landscape"].values
        for i, family in enumerate(names):
            here = [r.sel(family=family) for r in results]
            x = k + (i - (len(names) - 1) / 2) * 0.08
            mean = xr.concat([r[name] for r in here], "run", join="outer").mean("run").values
            axes.errorbar(
                x,
                mean,
                yerr=spread_bars(here, name),
                capsize=2,
                linewidth=1,
                label=family,
                **series_line(i),
            )
            if exact and exact in here[0]:
                axes.hlines(here[0][exact], k - 0.3, k + 0.3, color=INK, linewidth=1)
        if line is not None:
            axes.axhline(line, color=MUTED, linewidth=0.8)
        axes.set_xticks(k)
        axes.set_xlabel("landscape k (0: sharpest)")
        axes.set_ylabel(label)
        axes.legend()

    return draw


def preference(results: Sequence[xr.Dataset]) -> Callable[[Axes], None]:
    """Make what draws rises of energy half the answer's norm away, beside random directions."""
    parts = [r.sel(length=_LENGTH) for r in results]
    label = "rise / rise in random directions"
    return by_family(parts, "preference", label, "theory_preference", 1.0, _RANDOM)

"""Tables for the terminal: every estimate with its error."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from rich.table import Table

from ired_interp.terminal import render

Column = tuple[xr.DataArray, xr.DataArray | None] | tuple[xr.DataArray, xr.DataArray, xr.DataArray]
"""Values, and their standard errors or the ends of their intervals."""


def with_error(value: float, error: float | None = None) -> str:
    """Write a number with its standard error, where there is one, to the error's first digit.

    Parameters
    ----------
    value : float
        NaN is written as a dash.
    error : float, optional
        NaN is written as a question mark: not known.

    Returns
    -------
    str
        Without spaces.

    Examples
    --------
    >>> with_error(3.14159, 0.0123), with_error(3.14159, 0.3), with_error(4e-9, 2e-10)
    ('3.142±0.012', '3.1±0.3', '4.0e-09±2e-10')
    >>> with_error(float("nan")), with_error(0.25), with_error(0.25, float("nan"))
    ('–', '0.25', '0.25±?')
    """
    if math.isnan(value):
        return "–"
    if error is None or not math.isfinite(value):
        return f"{value:.4g}"
    if not math.isfinite(error):
        return f"{value:.4g}±?"
    if error <= 1e-7 * abs(value):
        return f"{value:.4g}±0"
    exponent = math.floor(math.log10(error))
    places = (error < 1.95 * 10.0**exponent) - exponent  # two digits where the first is 1
    if -3 < exponent < 4 or (error < 0.1 and abs(value) > 1e-3):
        return f"{value:.{max(places, 0)}f}±{error:.{max(places, 0)}f}"
    digits = max(places + math.floor(math.log10(max(abs(value), error))), 0)
    return f"{value:.{digits}e}±{error:.{places + exponent}e}"


def estimate_table(title: str, rows: Iterable[object], columns: Mapping[str, Column]) -> str:
    """Lay estimates out, one row a landscape.

    Parameters
    ----------
    title : str
        Above it.
    rows : iterable
        Landscapes.
    columns : mapping of str to tuple
        Heading → values over landscape, with standard errors or intervals where they are estimates.

    Returns
    -------
    str
        The table.
    """
    table = Table(title=title)
    for heading in ("k", *columns):
        table.add_column(heading, justify="right")
    for i, k in enumerate(rows):
        table.add_row(str(k), *(_cell(column, i) for column in columns.values()))
    return render(table)


def estimates(result: xr.Dataset, names: Iterable[str]) -> dict[str, Column]:
    """Take those of the named variables that a result has, with errors or intervals, as columns.

    Parameters
    ----------
    result : xarray.Dataset
        Over landscape.
    names : iterable of str
        Variables.

    Returns
    -------
    dict of str to tuple
        Heading → values and errors, or values and ends.
    """
    found: dict[str, Column] = {}
    for name in names:
        if f"{name}_low" in result:
            ends = result[f"{name}_low"], result[f"{name}_high"]
            found[name.replace("_", " ")] = (result[name], *ends)
        elif name in result:
            found[name.replace("_", " ")] = (result[name], result.get(f"{name}_error"))
    return found


def with_interval(value: float, low: float, high: float) -> str:
    """Write a number with its interval.

    Examples
    --------
    >>> with_interval(12.3, 8.1, 20.0), with_interval(80.0, 31.0, float("inf"))
    ('12.3 (8.1…20)', '80 (above 31)')
    """
    if not np.isfinite(high):
        return f"{value:.3g} (above {low:.3g})"
    return f"{value:.3g} ({low:.3g}…{high:.3g})"


def _cell(column: Column, i: int) -> str:
    value = float(column[0][i])
    if len(column) == 3:
        return with_interval(value, float(column[1][i]), float(column[2][i]))
    return with_error(value, None if column[1] is None else float(column[1][i]))

"""Tables for the terminal: every estimate with its error."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from rich.table import Table

from ired_interp.terminal import render

Column = tuple[xr.DataArray, xr.DataArray | None]


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
    if error <= 1e-9 * abs(value):
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
        Heading → values over landscape, and their standard errors where they are estimates.

    Returns
    -------
    str
        The table.
    """
    table = Table(title=title)
    for heading in ("k", *columns):
        table.add_column(heading, justify="right")
    found = [(v.values, None if e is None else e.values) for v, e in columns.values()]
    for i, k in enumerate(rows):
        cells = (with_error(float(v[i]), None if e is None else float(e[i])) for v, e in found)
        table.add_row(str(k), *cells)
    return render(table)


def estimates(result: xr.Dataset, names: Iterable[str]) -> dict[str, Column]:
    """Take those of the named variables that a result has, with their errors, as columns.

    Parameters
    ----------
    result : xarray.Dataset
        Over landscape.
    names : iterable of str
        Variables.

    Returns
    -------
    dict of str to tuple
        Heading → values and errors.
    """
    return {
        name.replace("_", " "): (result[name], result.get(f"{name}_error"))
        for name in names
        if name in result and np.ndim(result[name]) == 1
    }

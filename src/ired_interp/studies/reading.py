"""A quantity read from one run's results."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from ired_interp.errors import InputError
from ired_interp.results.opened import OpenedRun
from ired_interp.results.series import Series
from ired_interp.studies.quantity import Quantity

VALUE = ""  # what the quantity itself is called beside the names of what it is held against


class MissingError(Exception):
    """A run does not have a quantity; the message says why."""


def read_quantity(quantity: Quantity, run: OpenedRun | None) -> dict[str, dict[str, float]]:
    """Read a quantity of a run, and what stands beside it.

    Parameters
    ----------
    quantity : Quantity
        Which.
    run : OpenedRun, optional
        None if it is not there.

    Returns
    -------
    dict of str to dict of str to float
        By label of `each` ("" where all is averaged): the quantity under `VALUE`, and what stands
        beside it under its name.

    Raises
    ------
    MissingError
        If the run lacks it.
    """
    if run is None:
        raise MissingError("not trained to its end yet")
    series = _series(quantity, run)
    results = _steps(quantity, series, _names(quantity))
    here = [_values(quantity, result, quantity.variable, quantity.at) for result in results]
    found = {each: {VALUE: _moved([one[each] for one in here])} for each in here[0]}
    for name, what in quantity.beside.items():
        if isinstance(what, int | float):
            beside = [dict.fromkeys(found, float(what))]
        else:
            variable, at = _beside(quantity, what)
            beside = [_values(quantity, result, variable, at) for result in results]
        for each in found:
            rows = [one[each] if each in one else next(iter(one.values())) for one in beside]
            found[each][name] = _moved(rows) if len(rows) > 1 else rows[0]
    return found


def _beside(quantity: Quantity, what: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return which variable of the result stands beside the quantity, and at which labels."""
    other: Mapping[str, Any] = {"variable": what} if isinstance(what, str) else what
    variable = str(other.get("variable", quantity.variable))
    return variable, {**quantity.at, **other.get("at", {})}


def _names(quantity: Quantity) -> list[str]:
    """List the variables that it is read from: nothing else of a result is read."""
    others = [one for one in quantity.beside.values() if not isinstance(one, int | float)]
    return list({quantity.variable, *(_beside(quantity, one)[0] for one in others)})


def _series(quantity: Quantity, run: OpenedRun) -> Series:
    """Return the measurement of a quantity.

    Raises
    ------
    MissingError
        If there is none, or more than one.
    """
    measured = [series for series in run.series if series.probe == quantity.probe]
    if not measured:
        failed = [sentence for sentence in run.skipped if sentence.startswith(quantity.probe)]
        raise MissingError(
            failed[0].rstrip(".") if failed else f"{quantity.probe} was not measured"
        )
    try:
        return run.find(quantity.probe, **quantity.settings)
    except InputError:
        settings = ", ".join(f"{name}={value}" for name, value in quantity.settings.items())
        raise MissingError(
            f"{quantity.probe} was measured with other settings than {settings}"
            if settings
            else f"{quantity.probe} was measured with {len(measured)} settings; say which"
        ) from None


def _steps(quantity: Quantity, series: Series, names: Sequence[str]) -> list[xr.Dataset]:
    """Return the one result that is asked for, or the first and the last.

    Raises
    ------
    MissingError
        If the run lacks it.
    """
    steps = series.steps
    if quantity.step == "change":
        if len(steps) < 2:
            raise MissingError(f"{quantity.probe} was measured at one step only")
        return [series.at(steps[0], names), series.at(steps[-1], names)]
    return [series.at(steps[0] if quantity.step == "first" else steps[-1], names)]


def _moved(values: Sequence[float]) -> float:
    return values[-1] - values[0] if len(values) > 1 else values[0]


def _values(
    quantity: Quantity, result: xr.Dataset, variable: str, at: Mapping[str, Any]
) -> dict[str, float]:
    """Return the mean over what is selected, by label of `each` ("" where there is none).

    Raises
    ------
    MissingError
        If the run lacks it.
    """
    if variable not in result:
        raise MissingError(f"{quantity.probe} has no {variable} there")
    values, each = result[variable], quantity.each
    if variable == quantity.variable:
        for dim in (*at, *[each] * bool(each)):
            if dim not in values.dims:
                raise MissingError(f"{quantity.probe} has no dimension {dim} of {variable}")
    for dim, wanted in at.items():
        if dim not in values.dims:
            continue  # what stands beside may be the same along it
        known = values[dim].values.tolist()
        for label in wanted if isinstance(wanted, list) else [wanted]:
            if label not in known:
                raise MissingError(f"{quantity.probe} has no {dim} {label} there")
        values = values.sel({dim: wanted})
    rest = [dim for dim in values.dims if dim != each]
    values = values.mean(rest)
    if each not in values.dims:
        return {"": float(values)}
    return {str(label): float(values.sel({each: label})) for label in values[each].values}

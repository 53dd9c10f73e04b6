"""A result as what loggers understand: scalars, histograms and tables under stable names."""

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr
from lightning.pytorch.loggers import Logger

from ired_interp.loggers.run_folder import RunMetrics
from ired_interp.terminal import log

_MOST_SCALARS = 40  # of one variable
_LEAST_VALUES = 16  # in a histogram


@runtime_checkable
class ResultLogger(Protocol):
    """A logger that shows more of a result than scalars."""

    def log_result(self, label: str, result: xr.Dataset, step: int, path: Path) -> None:
        """Log the result of a probe, which lies in the file `path`."""


@runtime_checkable
class SummaryLogger(Protocol):
    """A logger that shows a run in a table, with a value that stands for the whole of it."""

    def set_summary(self, name: str, value: str) -> None:
        """Set a value of the run's row."""


def summarise(loggers: Iterable[Logger], name: str, value: str) -> None:
    """Set a value of the run's row in all loggers that have one; one that fails is passed over."""
    for logger in loggers:
        if isinstance(logger, SummaryLogger):
            try:
                logger.set_summary(name, value)
            except Exception as error:
                log(
                    f"{type(logger).__name__} did not take {name} ({type(error).__name__}: {error})"
                )


def publish(
    loggers: Iterable[Logger], label: str, result: xr.Dataset, step: int, path: Path
) -> None:
    """Hand a result to all loggers of a Trainer.

    A logger that fails is named and passed over: the result itself is safe in the run's folder.

    Parameters
    ----------
    loggers : Iterable[Logger]
        Of the Trainer.
    label : str
        Of the result.
    result : xr.Dataset
        What was measured.
    step : int
        Updates done.
    path : Path
        Its file.
    """
    if "failed" in result.attrs:
        return
    for logger in loggers:
        if isinstance(logger, RunMetrics):
            continue
        try:
            if isinstance(logger, ResultLogger):
                logger.log_result(label, result, step, path)
            else:
                logger.log_metrics(scalars(label, result), step)
        except Exception as error:
            log(
                f"{type(logger).__name__} did not take {label} of step {step} "
                f"({type(error).__name__}: {error}); it lies in {path}"
            )


def scalars(label: str, result: xr.Dataset) -> dict[str, float]:
    """Pick the numbers worth a curve, by name.

    Names are `label/variable`, `label/variable/k3` by landscape, and `label/variable/<name>` along
    another dimension.

    Landscapes drawn as in training are named "mixed". Of variables by layer, the layer "all"
    counts; of pairs of frames, the last with the first and with the one before, as
    `variable_to_first` and `variable_to_previous`. Values that are not finite are left out, as are
    variables with more dimensions.
    """
    found: dict[str, float] = {}
    for name, variable in _numeric(result).items():
        if variable.ndim == 0:
            found[f"{label}/{name}"] = float(variable)
        elif (
            variable.ndim == 1
            and variable.size <= _MOST_SCALARS
            and variable.dims[0] in result.coords
        ):
            (dimension,) = variable.dims
            for place, value in zip(result[dimension].values, variable.values, strict=True):
                found[f"{label}/{name}/{_place(dimension, place)}"] = float(value)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _place(dimension: Hashable, place: object) -> str:
    if dimension != "landscape":
        return str(place)
    return f"k{place}" if int(str(place)) >= 0 else "mixed"


def distributions(label: str, result: xr.Dataset) -> Mapping[str, np.ndarray]:
    """Pick the values worth a histogram: per landscape, `label/variable/k3`.

    These are all finite values of variables with further dimensions.
    """
    found = {}
    for name, variable in _numeric(result).items():
        if (
            variable.ndim > 1
            and "landscape" in variable.dims
            and variable.size >= _LEAST_VALUES * variable.sizes["landscape"]
        ):
            for k in result["landscape"].values:
                values = variable.sel(landscape=k).values.ravel()
                found[f"{label}/{name}/k{k}"] = values[np.isfinite(values)]
    return {name: values for name, values in found.items() if values.size}


def _numeric(result: xr.Dataset) -> dict[str, xr.DataArray]:
    numeric = {
        str(name): v for name, v in result.data_vars.items() if np.issubdtype(v.dtype, np.number)
    }
    for name, v in list(numeric.items()):
        if {"frame", "other"} <= set(v.dims) and "angle" not in v.dims and v.sizes["frame"] > 1:
            numeric[f"{name}_to_first"] = v.isel(frame=-1, other=0, drop=True)
            numeric[f"{name}_to_previous"] = v.isel(frame=-1, other=-2, drop=True)
    if "layer" in result.coords and "all" in result["layer"].values:
        return {
            name: v.sel(layer="all", drop=True) if "layer" in v.dims else v
            for name, v in numeric.items()
        }
    return numeric

"""What figures and answers take of a drift: frames, and comparisons by independent estimates."""

import numpy as np
import xarray as xr


def described(label: str) -> tuple[str, str, str]:
    """Read source, space and axis from a label.

    Parameters
    ----------
    label : str
        subspace_drift_<source>_<space>_<axis>.

    Returns
    -------
    tuple of str
        Source, space and axis; "" where one is missing.
    """
    parts = label.removeprefix("subspace_drift").strip("_").split("_")
    source, space, axis = (*parts, "", "", "")[:3]
    return source, space, axis


def labels(result: xr.Dataset) -> np.ndarray:
    """Name the frames, in order.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.

    Returns
    -------
    numpy.ndarray
        Of numbers or strings.
    """
    return np.asarray(
        result["label"].values if "label" in result else np.arange(result.sizes["frame"])
    )


def compared(result: xr.Dataset, name: str) -> xr.DataArray:
    """Take a measure of all pairs by independent estimates, where the frames have any.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.
    name : {"overlap", "geodesic"}
        The measure.

    Returns
    -------
    xarray.DataArray
        (..., frame, other).
    """
    independent = result.get(f"{name}_independent")
    return (
        independent
        if independent is not None and bool(np.isfinite(independent).any())
        else result[name]
    )


def error_of(result: xr.Dataset, name: str) -> xr.DataArray:
    """Take two standard errors of what `compared` takes; 0 where they are not known.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.
    name : {"overlap", "geodesic"}
        The measure.

    Returns
    -------
    xarray.DataArray
        (..., frame, other).
    """
    error = result.get(f"{compared(result, name).name}_error")
    return 0 * compared(result, name) if error is None else 2 * error.fillna(0)


def itself(result: xr.Dataset, name: str) -> xr.DataArray | None:
    """Take the same of each frame with an independent estimate of itself.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.
    name : {"overlap", "geodesic"}
        The measure.

    Returns
    -------
    xarray.DataArray or None
        (..., frame); None where there is no second estimate.
    """
    found = result.get({"overlap": "reliability", "geodesic": "geodesic_split_half"}[name])
    return found if found is not None and bool(np.isfinite(found).any()) else None

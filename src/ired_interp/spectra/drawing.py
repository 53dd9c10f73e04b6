"""How spectra and densities look in matplotlib axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST = 1e-6  # of the highest value is drawn


def draw_density(
    grid: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, ax: Axes | None
) -> Axes:
    """Draw a density on a logarithmic axis, with its band.

    Parameters
    ----------
    grid, values, low, high : numpy.ndarray
        (G,) of a ``Density``.
    ax : matplotlib.axes.Axes, optional
        Where; into pyplot's axes where not given.

    Returns
    -------
    matplotlib.axes.Axes
        That it is drawn into.
    """
    ax = _axes(ax)
    floor = _LEAST * float(values.max())
    (line,) = ax.plot(grid, values.clip(floor))
    color = line.get_color()
    ax.fill_between(grid, low.clip(floor), high.clip(floor), color=color, alpha=0.25, linewidth=0)
    ax.set(yscale="log", xlabel="eigenvalue", ylabel="density", ylim=(floor, None))
    return ax


def draw_eigenvalues(
    values: np.ndarray, residuals: np.ndarray, converged: np.ndarray, ax: Axes | None
) -> Axes:
    """Draw eigenvalues by rank with their residuals; those that have not converged are hollow.

    Parameters
    ----------
    values, residuals, converged : numpy.ndarray
        (k,) of a ``Spectrum``.
    ax : matplotlib.axes.Axes, optional
        Where; into pyplot's axes where not given.

    Returns
    -------
    matplotlib.axes.Axes
        That it is drawn into.
    """
    ax = _axes(ax)
    color = ax.plot([], [])[0].get_color()
    for chosen, face in ((converged, color), (~converged, "none")):
        (rank,) = chosen.nonzero()
        ax.errorbar(rank + 1, values[rank], residuals[rank], fmt="o", color=color, mfc=face)
    ax.set(xlabel="rank", ylabel="eigenvalue")
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.gca()

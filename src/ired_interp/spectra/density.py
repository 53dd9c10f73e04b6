"""Spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.spectra.drawing import draw_density
from ired_interp.spectra.estimate import Estimate, from_samples
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.progress import SolverProgress
from ired_interp.spectra.quadrature import quadrature
from ired_interp.spectra.vectors import gaussian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Probe = tuple[np.ndarray, np.ndarray, int]  # nodes, weights, and the products that they took


@dataclass(frozen=True)
class Density:
    """Density of the eigenvalues, normalised to 1.

    Attributes
    ----------
    grid : numpy.ndarray
        (G,) eigenvalue axis, in the operator's units.
    values : numpy.ndarray
        (G,) density, mean over probe vectors of the quadratures, widened by a Gaussian.
    low, high : numpy.ndarray
        (G,) pointwise confidence band over probe vectors.
    nodes, weights : numpy.ndarray
        (P, m) quadrature of each probe vector; weights of a row sum to 1.
    size : int
        N of the operator.
    width : float
        Standard deviation of the Gaussian.
    matvecs : int
        Products used, by former calls too where this one went on from their checkpoint.
    """

    grid: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    size: int
    width: float
    matvecs: int

    def mean(self, function: np.ndarray) -> Estimate:
        """Mean of a function over all eigenvalues; times N it is tr f(A).

        Parameters
        ----------
        function : numpy.ndarray
            (P, m) its values at ``nodes``.

        Returns
        -------
        Estimate
            With its error over probe vectors.
        """
        return from_samples((self.weights * function).sum(1))

    def moment(self, order: int) -> Estimate:
        """Mean of λ^order over all eigenvalues.

        Parameters
        ----------
        order : int
            0, 1, 2, …

        Returns
        -------
        Estimate
            With its error over probe vectors.
        """
        return self.mean(self.nodes**order)

    def share(self, low: float = -np.inf, high: float = 0.0) -> Estimate:
        """Share of the eigenvalues in [low, high); by default of the negative ones.

        A quadrature node stands for all eigenvalues near it, so the share is blurred where many
        lie close to an end.

        Parameters
        ----------
        low, high : float
            Ends of the interval.

        Returns
        -------
        Estimate
            Between 0 and 1.
        """
        return self.mean((self.nodes >= low) & (self.nodes < high))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw it on a logarithmic axis, with its band.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; into pyplot's axes where not given.

        Returns
        -------
        matplotlib.axes.Axes
            That it is drawn into.
        """
        return draw_density(self.grid, self.values, self.low, self.high, ax)


def density(
    operator: SymmetricOperator,
    probes: int = 10,
    steps: int = 100,
    *,
    width: float | None = None,
    points: int = 1024,
    confidence: float = 0.95,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Density:
    """Spectral density by stochastic Lanczos quadrature.

    It takes probes·steps products, and four vectors of memory.

    Parameters
    ----------
    operator : SymmetricOperator
        N×N.
    probes : int
        Random vectors, at least 2; the band narrows with their root.
    steps : int
        Lanczos steps for each; moments up to order 2·steps − 1 are exact for each probe vector.
    width : float, optional
        Standard deviation of the Gaussian in place of each node. Where not given: a hundredth of
        the nodes' range, of their size where all are one number to rounding, of 1 where all are 0.
    points : int
        Of the grid.
    confidence : float
        Of the band.
    seed : int
        Of the probe vectors, which have their own stream.
    checkpoint : str or Path, optional
        File (.npz) that keeps finished probe vectors, and from which a later call goes on.
    progress : bool
        Show what is done on stderr.

    Returns
    -------
    Density
        On a grid, with a confidence band.

    Raises
    ------
    InputError
        For too few probes or steps, a product that is not finite, or a checkpoint of another
        density.
    RunError
        If two products of one vector differ.

    References
    ----------
    Lin, Saad and Yang, "Approximating spectral densities of large matrices", SIAM Review 58, 2016;
    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J.
    Matrix Anal. Appl. 38, 2017.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, density
    >>> A = MatrixOperator(torch.diag(torch.linspace(-1, 3, 200)).double())
    >>> rho = density(A, probes=10, steps=30, progress=False)
    >>> mean = rho.moment(1)
    >>> abs(mean.value - 1) < 5 * mean.error < 0.5
    True
    >>> rho.share().low < 0.25 < rho.share().high  # of negative eigenvalues
    True
    """
    if probes < 2 or steps < 1:
        raise InputError(
            f"got probes={probes}, steps={steps}; expected at least 2 probes (for a band) and 1 "
            "step"
        )
    size, first = operator.shape[0], operator.matvecs
    steps = min(steps, size)
    operator.check()
    file = Path(checkpoint) if checkpoint is not None else None
    key = json.dumps({"size": size, "steps": steps, "seed": seed, "dtype": str(operator.dtype)})
    done = [] if file is None else _continue(operator, file, key)
    operator.matvecs += sum(products for _, _, products in done[:probes])
    bar = SolverProgress("density", progress and operator.is_rank_zero())
    try:
        for probe in range(len(done), probes):
            start = gaussian(
                size, operator.dtype, operator.device, operator.source(seed, "density", probe)
            )
            before = operator.matvecs
            done.append((*quadrature(operator, start, steps), operator.matvecs - before))
            if file is not None and operator.is_rank_zero():
                _save(file, key, done)
            bar.update(f"{probe + 1} of {probes} probe vectors", (probe + 1) / probes)
    finally:
        bar.close()
    nodes, weights, _ = (np.stack(parts) for parts in zip(*done[:probes], strict=True))

    low, high = nodes.min(), nodes.max()
    width = width or _scale(low, high, torch.finfo(operator.dtype).eps) / 100
    grid = np.linspace(low - 6 * width, high + 6 * width, points)
    each = np.stack(
        [
            stats.norm.pdf(grid[:, None], loc=n[w > 0], scale=width) @ w[w > 0]
            for n, w in zip(nodes, weights, strict=True)
        ]
    )
    values = each.mean(0)
    reach = stats.t.ppf((1 + confidence) / 2, probes - 1) * each.std(0, ddof=1) / probes**0.5
    band = np.maximum(values - reach, 0), values + reach
    return Density(grid, values, *band, nodes, weights, size, width, operator.matvecs - first)


def _scale(low: float, high: float, eps: float) -> float:
    """Range of the nodes; their size where they are one number to rounding; 1 where all are 0."""
    size = max(abs(low), abs(high))
    return float(high - low if high - low > 1e3 * eps * size else size or 1.0)


def _save(file: Path, key: str, done: list[_Probe]) -> None:
    quadratures = np.array([parts[:2] for parts in done])
    products = np.array([parts[2] for parts in done])
    with atomic(file) as temporary, temporary.open("wb") as stream_:
        np.savez(stream_, key=np.array(key), quadratures=quadratures, products=products)


def _continue(operator: SymmetricOperator, file: Path, key: str) -> list[_Probe]:
    """Read on every rank what rank zero's file holds.

    Raises
    ------
    InputError
        If it is of another density.
    """
    found, done = operator.broadcast(
        _load(file) if operator.is_rank_zero() and file.exists() else (key, [])
    )
    if found != key:
        raise InputError(
            f"{file} holds a density for {found}; expected {key}; give another file or delete it"
        )
    return done


def _load(file: Path) -> tuple[str, list[_Probe]]:
    with np.load(file, allow_pickle=False) as stored:
        quadratures = stored["quadratures"]
        # A former version kept no count: one product a node, of those that are needed.
        products = stored.get("products", np.count_nonzero(quadratures[:, 1], axis=1))
        return str(stored["key"]), [
            (nodes, weights, int(count))
            for (nodes, weights), count in zip(quadratures, products, strict=True)
        ]

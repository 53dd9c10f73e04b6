"""Karcher mean and dispersion of a set of subspaces."""

from dataclasses import dataclass

import torch

from ired_interp.errors import InputError, RunError
from ired_interp.geometry.angles import principal_angles
from ired_interp.geometry.arrays import as_bases
from ired_interp.geometry.manifold import exp, log


@dataclass(frozen=True)
class KarcherMean:
    """The subspace with the least mean squared geodesic distance to m others.

    Attributes
    ----------
    basis : torch.Tensor
        (N, p) orthonormal.
    distances : torch.Tensor
        (m,) geodesic distances to the subspaces, radians.
    logs : torch.Tensor
        (m, N, p) tangent vectors at the mean towards the subspaces.
    residual : float
        Length of their mean, 0 at an exact mean: the basis is within about this distance of it.
    """

    basis: torch.Tensor
    distances: torch.Tensor
    logs: torch.Tensor
    residual: float

    @property
    def dispersion(self) -> float:
        """Fréchet variance: mean squared geodesic distance to the mean, radians²."""
        return self.distances.square().mean().item()

    @property
    def unique(self) -> bool:
        """Whether all lie within π/4, which makes this their only Karcher mean (Afsari 2011)."""
        return bool(self.distances.max() < torch.pi / 4)


def karcher_mean(
    bases: torch.Tensor, tolerance: float = 1e-10, max_iterations: int = 300
) -> KarcherMean:
    """Karcher (Fréchet) mean of subspaces by Riemannian gradient descent with unit steps.

    Parameters
    ----------
    bases : torch.Tensor
        (m, N, p), any independent columns; for large N use reduced coordinates.
    tolerance : float
        Stop when the mean tangent vector is shorter than this, radians.
    max_iterations : int
        Iterations after which the search counts as failed.

    Returns
    -------
    KarcherMean
        Mean, distances, tangent vectors and residual.

    Raises
    ------
    InputError
        If ``bases`` is not of shape (m, N, p), or a subspace is at a right angle to the running
        mean.
    RunError
        If it does not converge: the subspaces are spread too far for a mean.

    Notes
    -----
    Starts at the extrinsic mean (leading eigenvectors of the mean projector). Each logarithm is
    taken by geomstats in 2p dimensions; ``geomstats.learning.FrechetMean`` needs projectors of the
    full size, stops with errors of 1e-3 at its default tolerance and reports twice this variance.
    Karcher, Comm. Pure Appl. Math. 30, 1977; Afsari, Proc. AMS 139, 2011.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import grassmann_distance, karcher_mean
    >>> lines = torch.tensor([[[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]]])  # π/4 apart
    >>> mean = karcher_mean(lines)
    >>> mean.distances.round(decimals=4), round(mean.dispersion, 4)
    (tensor([0.3927, 0.3927], dtype=torch.float64), 0.1542)
    """
    (given,) = as_bases(bases)
    if given.ndim != 3:
        raise InputError(
            f"bases of shape {tuple(given.shape)}; the mean needs m subspaces as (m, N, p)."
        )
    p = given.shape[-1]
    frames = torch.linalg.qr(given.double()).Q
    stacked = frames.movedim(0, 1).flatten(1)
    mean = torch.linalg.svd(stacked, full_matrices=False).U[:, :p]
    step, shortest = 1.0, torch.inf
    for _ in range(max_iterations):
        logs = log(mean, given)
        gradient = logs.mean(0)
        residual = torch.linalg.matrix_norm(gradient).item()
        if residual <= tolerance:
            return KarcherMean(mean, torch.linalg.matrix_norm(logs), logs, residual)
        step = step / 2 if residual > shortest else step
        shortest = min(shortest, residual)
        mean = exp(mean, step * gradient)
    raise RunError(
        f"the Karcher mean of {len(given)} subspaces did not converge in {max_iterations} "
        f"iterations (residual {residual:.1e} rad, asked {tolerance:.1e}); their largest angle to "
        f"it is {principal_angles(mean, given).max():.2f} rad: average closer ones, or loosen the "
        "tolerance."
    )

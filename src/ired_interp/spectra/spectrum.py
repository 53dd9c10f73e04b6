"""What an eigenvalue computation returns: eigenpairs and their quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ired_interp.spectra.drawing import draw_eigenvalues
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.vectors import norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SpectrumWarning(UserWarning):
    """An eigenvalue computation ended with something that its user must know."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs and their quality.

    Attributes
    ----------
    eigenvalues : Tensor
        (k,) float64, on the CPU; "LA" and "BE" descending, "SA" ascending, "LM" descending in
        magnitude.
    eigenvectors : Tensor
        (N, k), orthonormal columns.
    residuals : Tensor
        (k,) float64, ‖A v − λ v‖: an eigenvalue lies within this distance of each λ. From the
        Lanczos relation with the measured loss of orthogonality, checked by a product with a
        random sum; measured one by one where that finds them too small. At least 20·eps·‖A‖, which
        rounding of a product may leave.
    converged : Tensor
        (k,) bool; residual ≤ tol·|λ|, and nothing else. A pair that is False is the best estimate
        at a stop, not a result; ``notes`` say what helps.
    matvecs : int
        Products used, by former calls too where this one went on from their checkpoint.
    stopped : str
        "converged", "product budget", "time budget", or "rounding" where the dtype does not allow
        the tolerance.
    notes : tuple of str
        Sentences on what the residuals do not prove; also given as ``SpectrumWarning``.
    seconds : float
        Wall time.
    sweeps, restarts : int
        Of the orthogonalisation.
    plan : str
        The memory plan in a sentence.
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    residuals: Tensor
    converged: Tensor
    matvecs: int
    stopped: str
    notes: tuple[str, ...]
    seconds: float
    sweeps: int
    restarts: int
    plan: str

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the eigenvalues by rank, with residuals; hollow where not converged.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; into pyplot's axes where not given.

        Returns
        -------
        matplotlib.axes.Axes
            That it is drawn into.
        """
        return draw_eigenvalues(
            self.eigenvalues.numpy(), self.residuals.numpy(), self.converged.numpy(), ax
        )


def residual_norms(
    operator: SymmetricOperator, eigenvalues: Tensor, eigenvectors: Tensor
) -> Tensor:
    """Measure true residuals ‖A v_i − λ_i v_i‖, by one product for each pair.

    Parameters
    ----------
    operator : SymmetricOperator
        N×N, A.
    eigenvalues : Tensor
        (k,).
    eigenvectors : Tensor
        (N, k), columns of length 1.

    Returns
    -------
    Tensor
        (k,) float64.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, residual_norms
    >>> A = MatrixOperator(torch.diag(torch.tensor([1.0, 3.0])))
    >>> residual_norms(A, torch.tensor([1.0, 2.5]), torch.eye(2))
    tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    pairs = zip(eigenvalues.tolist(), eigenvectors.unbind(1), strict=True)
    return torch.tensor(
        [
            norm((operator @ v.to(operator.device)).sub_(v.to(operator.device), alpha=value))
            for value, v in pairs
        ],
        dtype=torch.float64,
    )

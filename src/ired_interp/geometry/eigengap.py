"""Whether a leading subspace is there at all: the gap between its eigenvalues and the next."""

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Eigengap:
    """Gap between the last eigenvalue of a leading subspace and the first beyond it.

    Where it cannot be told from 0 the subspace is arbitrary: any other of the same dimension within
    the equal eigenvalues would do as well, whatever its overlaps say.

    Attributes
    ----------
    value : float
        λ_p − λ_{p+1}, of the largest eigenvalue in magnitude.
    error : float
        Its standard error, of rounding and of what it is a mean over.
    count : int
        Of independent values that it is a mean over.
    """

    value: float
    error: float
    count: int = 1

    @classmethod
    def of(cls, values: Tensor, rounding: float) -> "Eigengap":
        """Take the mean of independent values.

        Parameters
        ----------
        values : Tensor
            (n,) gaps of single problems.
        rounding : float
            Resolution of one of them; see ``resolution``.

        Returns
        -------
        Eigengap
            With its error; of a single value that is rounding alone.
        """
        values = values.double()
        spread = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else 0.0
        return cls(float(values.mean()), max(spread, rounding), len(values))

    @property
    def identified(self) -> bool:
        """Whether the gap is above 0 by more than its 95 % interval (Student's)."""
        reach = float(stats.t.ppf(0.975, self.count - 1)) if self.count > 1 else 2.0
        return self.value > reach * self.error


def student_factor(count: int) -> float:
    """Widen a standard error of few values, so that 1.96 of them still are a 95 % interval.

    Parameters
    ----------
    count : int
        B ≥ 2 values that it is from.

    Returns
    -------
    float
        Student's quantile for B − 1 degrees of freedom over the normal one: 1.21 for 8, 1.04 for
        32.
    """
    return float(stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975))


def matrix_gaps(vectors: Tensor, matrices: Tensor, largest: Tensor, p: int) -> Tensor:
    """Gaps that matrices show between directions found elsewhere.

    Parameters
    ----------
    vectors : Tensor
        (..., N, p + 1 or more) eigenvectors of other matrices, of descending eigenvalues.
    matrices : Tensor
        (..., N, N) symmetric.
    largest : Tensor
        (...) the largest magnitude of their eigenvalues.
    p : int
        Dimension of the subspace.

    Returns
    -------
    Tensor
        (...) u_pᵀAu_p − u_{p+1}ᵀAu_{p+1}, of the largest. Its mean is 0 where the gap is, as that
        between sorted eigenvalues of one noisy matrix is not.
    """
    pair = vectors[..., p - 1 : p + 1]
    quotients = (pair * (matrices @ pair)).sum(-2)
    return (quotients[..., 0] - quotients[..., 1]) / torch.where(largest == 0, 1.0, largest)


def vector_gaps(directions: Tensor, vectors: Tensor, p: int) -> Tensor:
    """Gaps that single vectors show between directions found from others.

    Parameters
    ----------
    directions : Tensor
        (N, p) or (N, p + 1) orthonormal, leading directions of other vectors; p where those span no
        more.
    vectors : Tensor
        (B, N).
    p : int
        Dimension of the subspace.

    Returns
    -------
    Tensor
        (B,) (gᵀu_p)² − (gᵀu_{p+1})², of the mean of (gᵀu_1)².
    """
    shares = (vectors.double() @ directions).square()
    beyond = shares[:, p] if directions.shape[1] > p else torch.zeros_like(shares[:, 0])
    largest = shares[:, 0].mean()
    return (shares[:, p - 1] - beyond) / torch.where(largest == 0, 1.0, largest)

"""Whether a leading subspace is there at all: the gap between its eigenvalues and the next."""

from dataclasses import dataclass
from functools import cache

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
        λ_p − λ_{p+1}, of the largest eigenvalue in magnitude; where data are noisy, the gap between
        the directions found in them, which is smaller.
    error : float
        Its standard error, of rounding and of what it is a mean over, given the directions.
    count : int
        Of independent values that it is a mean over.
    error_at_zero : float, optional
        What the error is if the gap is 0: that of the difference, not of its ratio to the largest.
        Without it the same.
    """

    value: float
    error: float
    count: int = 1
    error_at_zero: float | None = None

    @classmethod
    def of(cls, values: Tensor, rounding: float, differences: Tensor | None = None) -> "Eigengap":
        """Take the mean of independent values.

        Parameters
        ----------
        values : Tensor
            (n,) gaps of single problems.
        rounding : float
            Resolution of one of them; see ``resolution``.
        differences : Tensor, optional
            (n,) the same for a known largest eigenvalue; see ``vector_gaps``.

        Returns
        -------
        Eigengap
            With its error; of a single value that is rounding alone.
        """
        error, at_zero = (
            max(float(each.double().std()) / len(each) ** 0.5 if len(each) > 1 else 0.0, rounding)
            for each in (values, values if differences is None else differences)
        )
        return cls(float(values.double().mean()), error, len(values), at_zero)

    @property
    def identified(self) -> bool:
        """Whether the gap is above 0 by more than its 95 % interval (Student's)."""
        reach = _student_quantile(self.count) if self.count > 1 else 2.0
        error = self.error if self.error_at_zero is None else self.error_at_zero
        return self.value > reach * error


@cache
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
    return _student_quantile(count) / float(stats.norm.ppf(0.975))


@cache
def _student_quantile(count: int) -> float:
    return float(stats.t.ppf(0.975, count - 1))


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


def vector_gaps(directions: Tensor, vectors: Tensor, p: int) -> tuple[Tensor, Tensor]:
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
    tuple of Tensor
        (B,) values whose mean is that of (gᵀu_p)² − (gᵀu_{p+1})² over that of (gᵀu_1)², and whose
        spread is that of the ratio, to first order; and (B,) the differences over the latter.
    """
    shares = (vectors.double() @ directions).square()
    beyond = shares[:, p] if directions.shape[1] > p else torch.zeros_like(shares[:, 0])
    largest = shares[:, 0].mean()
    if largest == 0:
        return torch.zeros_like(beyond), torch.zeros_like(beyond)
    differences, sizes = (shares[:, p - 1] - beyond) / largest, shares[:, 0] / largest
    return differences - differences.mean() * (sizes - 1), differences

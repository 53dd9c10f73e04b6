"""What a Krylov basis knows of its operator: couplings of pending vectors, small eigenproblems."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import bandwidth, eigh_tridiagonal
from torch import Tensor


@dataclass
class Pending:
    """A unit vector p to which the operator has not been applied yet.

    Attributes
    ----------
    vector : Tensor
        (N,) p.
    coupling : numpy.ndarray
        (m,) ⟨p, A q_i⟩ with each row q_i of the basis.
    clean : bool
        Whether it was swept against every row that was there when it came.
    """

    vector: Tensor
    coupling: np.ndarray
    clean: bool


def eigenpairs(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve a symmetric eigenproblem, about four times as fast where it is tridiagonal.

    Parameters
    ----------
    matrix : numpy.ndarray
        (m, m).

    Returns
    -------
    tuple of numpy.ndarray
        (m,) eigenvalues, ascending, and (m, m) eigenvectors in columns.
    """
    if max(bandwidth(matrix)) > 1:
        return np.linalg.eigh(matrix)
    values, vectors = eigh_tridiagonal(np.diagonal(matrix), np.diagonal(matrix, 1))
    return values, vectors

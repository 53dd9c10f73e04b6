"""How much of a vector lies in the span of eigenvectors, and how much would by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from ired_interp.spectra.spectrum import Spectrum


def sign_chance(spectrum: Spectrum, vector: Tensor) -> Tensor:
    """cos² with each eigenvector that a vector has on average if its entries' signs are random.

    E cos² = Σ_i x_i² v_i² / ‖x‖²: what the sizes of the entries alone explain, where weights that
    move much are those that the eigenvectors sit on. For a vector of random direction it is 1/N.

    Parameters
    ----------
    spectrum : Spectrum
        k eigenpairs.
    vector : Tensor
        (N,).

    Returns
    -------
    Tensor
        (k,) float64, on the CPU; they add to what is expected inside the span.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, lanczos, sign_chance
    >>> A = MatrixOperator(torch.diag(torch.tensor([7.0, 5.0, 1.0])).double())
    >>> top = lanczos(A, k=2, which="LA", tol=1e-8, progress=False)
    >>> sign_chance(top, torch.tensor([3.0, 0.0, 4.0]).double()).round(decimals=6).tolist()
    [0.36, 0.0]
    """
    vectors = spectrum.eigenvectors
    weights = vector.to(vectors.device, torch.float64).square()
    weights /= weights.sum()
    # one column at a time: a float64 copy of all would double the memory
    shares = [weights @ column.double().square() for column in vectors.unbind(1)]
    return torch.stack(shares).cpu()

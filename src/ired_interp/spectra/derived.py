"""Numbers derived from eigenpairs, with their uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.estimate import Estimate
from ired_interp.spectra.spectrum import Spectrum


def gaps(spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """Distances between neighbouring eigenvalues, in the spectrum's order.

    Parameters
    ----------
    spectrum : Spectrum
        k eigenpairs.

    Returns
    -------
    distances : Tensor
        (k − 1,).
    errors : Tensor
        (k − 1,) bounds on their errors, from the residuals.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, gaps, lanczos
    >>> A = MatrixOperator(torch.diag(torch.tensor([7.0, 5.0, 1.0, 0.0])).double())
    >>> distances, errors = gaps(lanczos(A, k=3, which="LA", progress=False))
    >>> distances.round(decimals=6).tolist(), bool(errors.max() < 1e-6)
    ([2.0, 4.0], True)
    """
    residuals = spectrum.residuals
    return spectrum.eigenvalues.diff().abs(), residuals[1:] + residuals[:-1]


def spectral_gap(spectrum: Spectrum) -> tuple[int, Estimate]:
    """Find the largest ratio |λ_i|/|λ_{i+1}| of neighbouring eigenvalues.

    Parameters
    ----------
    spectrum : Spectrum
        k ≥ 2 eigenpairs, descending in magnitude.

    Returns
    -------
    count : int
        Eigenvalues before the gap.
    ratio : Estimate
        The ratio; its interval follows from the residuals.

    Raises
    ------
    InputError
        If there are fewer than two eigenvalues, or all are 0.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, lanczos, spectral_gap
    >>> A = MatrixOperator(torch.diag(torch.tensor([8.0, 7.9, 2.0, 1.0])).double())
    >>> count, ratio = spectral_gap(lanczos(A, k=3, which="LA", progress=False))
    >>> count, round(ratio.value, 6)
    (2, 3.95)
    """
    sizes, residuals = spectrum.eigenvalues.abs().numpy(), spectrum.residuals.numpy()
    if len(sizes) < 2:
        raise InputError(f"a gap needs two eigenvalues; the spectrum has {len(sizes)}")
    if not sizes.any():
        raise InputError("a gap needs an eigenvalue that is not 0; all of the spectrum's are")
    following = np.where(sizes[1:] > 0, sizes[1:], np.finfo(float).tiny)
    ratios = sizes[:-1] / following
    i = int(ratios.argmax())
    low = max(0.0, sizes[i] - residuals[i]) / (following[i] + residuals[i + 1])
    high = (sizes[i] + residuals[i]) / max(following[i] - residuals[i + 1], np.finfo(float).tiny)
    error = ratios[i] * np.hypot(residuals[i] / sizes[i], residuals[i + 1] / following[i])
    return i + 1, Estimate(float(ratios[i]), float(error), float(low), float(high))


def condition_number(eigenvalues: Tensor) -> Tensor:
    """Ratio of the largest to the smallest magnitude, max|λ|/min|λ|.

    Parameters
    ----------
    eigenvalues : Tensor
        (..., d) all of them.

    Returns
    -------
    Tensor
        (...); infinite where one is 0.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import condition_number
    >>> condition_number(torch.tensor([4.0, -8.0, 2.0]))
    tensor(4.)
    """
    sizes = eigenvalues.abs()
    return sizes.amax(-1) / sizes.amin(-1)


def alignment(spectrum: Spectrum, vector: Tensor) -> Tensor:
    """cos² of the angles between a vector, a gradient say, and the eigenvectors.

    Parameters
    ----------
    spectrum : Spectrum
        k eigenpairs.
    vector : Tensor
        (N,).

    Returns
    -------
    Tensor
        (k,) float64, on the CPU; they add to the share of the vector inside their span.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, alignment, lanczos
    >>> A = MatrixOperator(torch.diag(torch.tensor([7.0, 5.0, 1.0])).double())
    >>> top = lanczos(A, k=2, which="LA", tol=1e-8, progress=False)
    >>> alignment(top, torch.tensor([3.0, 0.0, 4.0]).double()).round(decimals=6).tolist()
    [0.36, 0.0]
    """
    vectors = spectrum.eigenvectors
    aligned = (vectors.T @ vector.to(vectors.device, vectors.dtype)).double().cpu()
    length = torch.linalg.vector_norm(vector, dtype=torch.float64).cpu()
    cosines: Tensor = aligned / length
    return cosines.square()

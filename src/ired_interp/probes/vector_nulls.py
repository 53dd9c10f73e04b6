"""What vectors without features would be: Gaussian ones, or a few components for all."""

import torch
from torch import Tensor


def gaussian_like(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Draw Gaussian vectors of the same mean and covariance.

    Parameters
    ----------
    rows : Tensor (N, d)
        Vectors.
    generator : torch.Generator
        On their device.

    Returns
    -------
    Tensor (N, d)
        As many.
    """
    exact = rows.double()
    values, vectors = torch.linalg.eigh(torch.cov(exact.mT))
    drawn = torch.randn(exact.shape, generator=generator, device=rows.device, dtype=torch.float64)
    made: Tensor = drawn * values.clamp(min=0).sqrt() @ vectors.mT + exact.mean(0)
    return made.to(rows.dtype)


def leading_components(fit: Tensor, rows: Tensor, count: int) -> Tensor:
    """Make vectors of the leading principal components of others.

    Parameters
    ----------
    fit : Tensor (N, d)
        Whose components.
    rows : Tensor (B, d)
        What is made of them.
    count : int
        How many components.

    Returns
    -------
    Tensor (B, d)
        The closest vectors in their plane.
    """
    centre = fit.mean(0)
    axes = torch.linalg.eigh(torch.cov(fit.double().mT)).eigenvectors[:, -count:].to(rows.dtype)
    found: Tensor = (rows - centre) @ axes @ axes.mT + centre
    return found

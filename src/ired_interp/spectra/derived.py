"""Numbers derived from spectra, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.density import Density
from ired_interp.spectra.estimate import Estimate, jackknife
from ired_interp.spectra.lanczos import Spectrum


@overload
def effective_rank(spectrum: Tensor, kind: str = "participation") -> Tensor: ...
@overload
def effective_rank(spectrum: Density, kind: str = "participation") -> Estimate: ...
def effective_rank(spectrum: Tensor | Density, kind: str = "participation") -> Tensor | Estimate:
    """Effective number of eigenvalues, by magnitude.

    Parameters
    ----------
    spectrum : all eigenvalues (..., d), or a Density
    kind : "participation", (Σ|λ|)²/Σλ², or "entropy", exp(−Σ p ln p) with p = |λ|/Σ|λ| (Roy and Vetterli 2007)

    Returns
    -------
    (...) of eigenvalues; an Estimate (jackknife over probe vectors) of a density, whose nodes each stand for N·weight
    eigenvalues
    """
    if kind not in ("participation", "entropy"):
        raise InputError(f"kind is {kind!r}; expected 'participation' or 'entropy'")
    if isinstance(spectrum, Tensor):
        sizes = spectrum.double().abs()
        total = sizes.sum(-1)
        if kind == "participation":
            return total**2 / (sizes**2).sum(-1)
        p = sizes / total[..., None]
        return torch.exp(torch.special.entr(p).sum(-1))
    sizes = np.abs(spectrum.nodes)

    def rank(probes: np.ndarray) -> float:
        def mean(f: np.ndarray) -> float:
            return float((spectrum.weights * f).sum(1)[probes].mean())

        if kind == "participation":
            return spectrum.size * mean(sizes) ** 2 / mean(sizes**2)
        logs = sizes * np.log(np.where(sizes > 0, sizes, 1.0))
        return spectrum.size * mean(sizes) * float(np.exp(-mean(logs) / mean(sizes)))

    return _over_probes(rank, len(sizes))


def _over_probes(statistic: Callable[[np.ndarray], float], probes: int) -> Estimate:
    every = np.arange(probes)
    return jackknife(statistic(every), np.array([statistic(np.delete(every, i)) for i in every]))


def gaps(spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """Distances (k − 1,) between neighbouring eigenvalues, in the spectrum's order, and their error bounds (k − 1,)."""
    residuals = spectrum.residuals
    return spectrum.eigenvalues.diff().abs(), residuals[1:] + residuals[:-1]


def spectral_gap(spectrum: Spectrum) -> tuple[int, Estimate]:
    """How many eigenvalues lie before the largest ratio |λ_i|/|λ_{i+1}| of neighbours, and that ratio."""
    sizes, residuals = spectrum.eigenvalues.abs().numpy(), spectrum.residuals.numpy()
    if len(sizes) < 2:
        raise InputError(f"a gap needs two eigenvalues; the spectrum has {len(sizes)}")
    tiny = np.finfo(float).tiny
    ratios = sizes[:-1] / np.maximum(sizes[1:], tiny)
    i = int(ratios.argmax())
    low = max(0.0, sizes[i] - residuals[i]) / (sizes[i + 1] + residuals[i + 1])
    high = (sizes[i] + residuals[i]) / max(sizes[i + 1] - residuals[i + 1], tiny)
    error = ratios[i] * np.hypot(
        residuals[i] / sizes[i], residuals[i + 1] / max(sizes[i + 1], tiny)
    )
    return i + 1, Estimate(float(ratios[i]), float(error), float(low), float(high))


def condition_number(eigenvalues: Tensor) -> Tensor:
    """max|λ|/min|λ| (...) of all eigenvalues (..., d)."""
    sizes = eigenvalues.abs()
    return sizes.amax(-1) / sizes.amin(-1)


def overlap(spectrum: Spectrum, vector: Tensor) -> Tensor:
    """cos² (k,) of the angles between a vector (N,), a gradient say, and the eigenvectors; they add to its share."""
    vectors = spectrum.eigenvectors
    aligned = vectors.T @ vector.to(vectors.device, vectors.dtype)
    return (
        aligned.double() ** 2
        / torch.linalg.vector_norm(vector, dtype=torch.float64).to(vectors.device) ** 2
    ).cpu()

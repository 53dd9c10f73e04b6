"""Effective number of eigenvalues, of a list of them or of a density."""

from __future__ import annotations

from typing import overload

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.density import Density
from ired_interp.spectra.estimate import Estimate, jackknife


@overload
def effective_rank(spectrum: Tensor, kind: str = "participation") -> Tensor: ...
@overload
def effective_rank(spectrum: np.ndarray, kind: str = "participation") -> np.ndarray: ...
@overload
def effective_rank(spectrum: Density, kind: str = "participation") -> Estimate: ...
def effective_rank(
    spectrum: Tensor | np.ndarray | Density, kind: str = "participation"
) -> Tensor | np.ndarray | Estimate:
    """Effective number of eigenvalues, by magnitude.

    Parameters
    ----------
    spectrum : Tensor, numpy.ndarray or Density
        All eigenvalues (..., d), or a density.
    kind : {"participation", "entropy"}
        The participation ratio (Σ|λ|)²/Σλ², or exp(−Σ p ln p) with p = |λ|/Σ|λ| (Roy and Vetterli).

    Returns
    -------
    Tensor, numpy.ndarray or Estimate
        (...) float64 of eigenvalues, in kind; of a density with a jackknife error over probe
        vectors, each node standing for N·weight eigenvalues. NaN where all are 0.

    Raises
    ------
    InputError
        If the kind is unknown.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import effective_rank
    >>> effective_rank(torch.tensor([[1.0, -1.0, 1.0, 0.0], [5.0, 0.0, 0.0, 0.0]]))
    tensor([3., 1.], dtype=torch.float64)
    """
    if kind not in ("participation", "entropy"):
        raise InputError(f"kind is {kind!r}; expected 'participation' or 'entropy'")
    if isinstance(spectrum, Tensor):
        return _number(spectrum.double().abs(), 1.0, kind)
    if isinstance(spectrum, np.ndarray):
        sizes = torch.from_numpy(np.abs(spectrum).astype(np.float64))
        numbers: np.ndarray = _number(sizes, 1.0, kind).numpy()
        return numbers
    nodes, weights = torch.from_numpy(np.abs(spectrum.nodes)), torch.from_numpy(spectrum.weights)
    every = np.arange(len(nodes))

    def rank(probes: np.ndarray) -> float:
        counts = spectrum.size * weights[probes] / len(probes)
        return float(_number(nodes[probes].flatten(), counts.flatten(), kind))

    return jackknife(rank(every), np.array([rank(np.delete(every, i)) for i in every]))


def _number(sizes: Tensor, counts: Tensor | float, kind: str) -> Tensor:
    """Effective number (...) of values (..., d), none negative, each of which occurs so often."""
    total = (counts * sizes).sum(-1)
    if kind == "participation":
        ratio: Tensor = total.square() / (counts * sizes.square()).sum(-1)
        return ratio
    entropy: Tensor = (counts * torch.special.entr(sizes / total[..., None])).sum(-1)
    return entropy.exp()

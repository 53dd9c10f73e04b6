"""How alike two kernels over the same problems are, without the bias of centred alignment."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.probes.spread import jackknife_error, left_out
from ired_interp.random import stream

_PERMUTATIONS = 1000
_HALVES = 200  # random halves of the problems
LEAST = 5  # problems, so that something is left of a centred kernel of one fewer


def u_centred(kernel: Tensor) -> Tensor:
    """Centre kernels without their diagonal, so that products of independent ones have mean 0.

    Parameters
    ----------
    kernel : Tensor (..., N, N)
        Symmetric, N at least 3; the diagonal does not matter.

    Returns
    -------
    Tensor (..., N, N)
        Rows and columns off the diagonal sum to 0, the diagonal is 0.

    References
    ----------
    Székely and Rizzo, "Partial distance correlation with methods for dissimilarities", Annals of
    Statistics 42, 2014.
    """
    n = kernel.shape[-1]
    diagonal = torch.eye(n, dtype=torch.bool, device=kernel.device)
    bare = kernel.masked_fill(diagonal, 0.0)
    rows = bare.sum(-1, keepdim=True) / (n - 2)
    total = bare.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return (bare - rows - rows.mT + total).masked_fill(diagonal, 0.0)


def debiased_cka(a: Tensor, b: Tensor) -> Tensor:
    """Centred kernel alignment of unbiased estimates, whose mean is 0 for independent kernels.

    The biased alignment of independent kernels is near 1 where they have more dimensions than there
    are problems.

    Parameters
    ----------
    a, b : Tensor (..., N, N)
        Kernels over the same N problems.

    Returns
    -------
    Tensor (...)
        −1 to 1; NaN where a kernel does not tell problems apart.

    References
    ----------
    Song et al., "Feature selection via dependence maximization", JMLR 13, 2012, for the estimate;
    Kornblith et al., "Similarity of neural network representations revisited", ICML 2019.

    Examples
    --------
    >>> x = torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    >>> y = torch.randn(64, 400, generator=torch.Generator().manual_seed(1))
    >>> kernel = x @ x.T
    >>> alike, other = debiased_cka(kernel, 3 * kernel + 2), debiased_cka(kernel, y @ y.T)
    >>> round(float(alike), 6), abs(float(other)) < 0.1
    (1.0, True)
    """
    return _cosine(u_centred(a.double()), u_centred(b.double()))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    sizes = a.square().sum((-2, -1)) * b.square().sum((-2, -1))
    inner: Tensor = (a * b).sum((-2, -1))
    return torch.where(sizes > 0, inner / sizes.sqrt(), torch.nan).clamp(-1, 1)


def cka_error(a: Tensor, b: Tensor) -> np.ndarray:
    """Take the standard error (...) of `debiased_cka` over problems, leaving groups of them out."""
    parts = []
    for kept in left_out(a.shape[-1]):
        rows = torch.from_numpy(kept)
        parts.append(debiased_cka(a[..., rows, :][..., rows], b[..., rows, :][..., rows]).numpy())
    return jackknife_error(np.stack(parts, -1))


def neighbour_halves(kernels: Tensor, landscapes: list[int], seed: int) -> np.ndarray:
    """Align kernels with that of the next smoother landscape, on random halves of the problems.

    Halves scatter about the whole as the whole about its truth, and unlike resamples have no
    problem twice, of which a kernel without its diagonal could make nothing.

    Parameters
    ----------
    kernels : Tensor (K, N, N)
        One a landscape.
    landscapes : list of int
        Which.
    seed : int
        Of the halves.

    Returns
    -------
    ndarray (halves, K)
        `debiased_cka` with the next kernel; NaN of the smoothest, and of fewer than 8 problems.
    """
    count, n = kernels.shape[:2]
    found = np.full((_HALVES, count), np.nan)
    if n // 2 < 4 or count < 2:
        return found
    generator = stream("cpu", seed, "halves")
    order = np.argsort(landscapes)
    kernels = kernels.cpu()[order]
    for half in found:
        rows = torch.randperm(n, generator=generator)[: n // 2]
        part = kernels[:, rows][:, :, rows]
        half[order[:-1]] = debiased_cka(part[:-1], part[1:]).numpy()
    return found


def permuted_cka(target: Tensor, draws: int, generator: torch.Generator) -> Callable[..., Tensor]:
    """Make the null of alignments with a target: its problems in random order.

    Parameters
    ----------
    target : Tensor (N, N)
        A kernel.
    draws : int
        Permutations, drawn once.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    callable
        Maps kernels (..., N, N) to alignments (..., draws).
    """
    n = len(target)
    orders = torch.stack([torch.randperm(n, generator=generator) for _ in range(draws)])
    centred = u_centred(target.double())
    shuffled = centred[orders[:, :, None], orders[:, None, :]].flatten(1)

    def null(kernels: Tensor) -> Tensor:
        rows = u_centred(kernels.double()).flatten(-2)
        sizes = rows.norm(dim=-1, keepdim=True) * centred.norm()
        return torch.where(sizes > 0, rows @ shuffled.mT / sizes, torch.nan)

    return null


def cka_variables(name: str, dims: tuple[str, ...], a: Tensor, b: Tensor) -> dict[str, Any]:
    """Label `debiased_cka` of kernels (..., N, N) and its standard error."""
    unit = {"units": "1"}
    value, error = debiased_cka(a, b).numpy(), cka_error(a, b)
    return {name: (dims, value, unit), f"{name}_error": (dims, error, unit)}


def alignment_variables(kernels: Tensor, named: Mapping[str, Tensor], seed: int) -> dict[str, Any]:
    """Label alignments with targets, and what they are with the problems permuted.

    Parameters
    ----------
    kernels : Tensor (landscapes, layers, N, N)
        Of a model.
    named : mapping of str to Tensor (N, N)
        Targets.
    seed : int
        Of the permutations.

    Returns
    -------
    dict
        Variables of a dataset.
    """
    generator = stream("cpu", seed, "permutations")
    dims, unit = ("landscape", "layer", "target"), {"units": "1"}
    found: dict[str, list[np.ndarray]] = {}
    for target in named.values():
        null = permuted_cka(target, _PERMUTATIONS, generator)(kernels).numpy()
        values = {
            "alignment": debiased_cka(kernels, target.expand_as(kernels)).numpy(),
            "alignment_error": cka_error(kernels, target.expand_as(kernels)),
            "alignment_chance": null.mean(-1),
            "alignment_chance_low": np.quantile(null, 0.025, -1),
            "alignment_chance_high": np.quantile(null, 0.975, -1),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: (dims, np.stack(values, -1), unit) for name, values in found.items()}

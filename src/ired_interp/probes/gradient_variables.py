"""Labelled statistics of gradients in the weights, by layer and between landscapes."""

from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ired_interp.probes.gradient_rows import GradientRows
from ired_interp.probes.gram_statistics import CPU, gram_statistics
from ired_interp.probes.spread import jackknife_error, mean_error

QUANTILES = (0.05, 0.5, 0.95)
_COLUMNS = 1 << 16  # weights whose means are multiplied in float64 at a time
ALL = "all"  # the layer that stands for all weights together


def layer_grams(gradients: GradientRows, memory: float, groups: int) -> tuple[np.ndarray, Tensor]:
    """Compute inner products of all rows, and means of groups of them.

    Parameters
    ----------
    gradients : GradientRows
        B rows.
    memory : float
        Bytes that rows may take.
    groups : int
        G.

    Returns
    -------
    ndarray (layers + 1, B, B) and Tensor (G, N)
        Inner products in float64, of all weights together first; means of every G-th row.
    """
    chunks = list(gradients.chunks(memory if gradients.count == 1 else memory / 2))
    gram = torch.zeros(len(gradients.layers), gradients.count, gradients.count, dtype=torch.float64)
    member = torch.arange(gradients.count)[None] % groups == torch.arange(groups)[:, None]
    share = member / member.sum(1, keepdim=True)  # (groups, B), of each row in its group's mean
    means: Tensor | None = None
    for i, rows in enumerate(chunks):
        mine = gradients[rows]
        part = torch.cat([share[:, rows].to(g) @ g for g in mine.values()], dim=1)
        means = part if means is None else means.add_(part)
        for j, others in enumerate(chunks[: i + 1]):
            theirs = mine if i == j else gradients[others]
            for layer, name in enumerate(mine):
                left = mine[name].double()
                block = (left @ (left if i == j else theirs[name].double()).mT).cpu()
                gram[layer, rows, others], gram[layer, others, rows] = block, block.mT
    assert means is not None
    return torch.cat([gram.sum(0, keepdim=True), gram]).numpy(), means


def theta_variables(
    grams: np.ndarray,
    problems_each: int,
    dims: tuple[str, ...],
    row: str = "problem",
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Label statistics of gradients in the weights.

    Parameters
    ----------
    grams : ndarray (..., B, B)
        Inner products.
    problems_each : int
        Problems of which each gradient is the mean.
    dims : tuple of str
        Names of the leading dimensions.
    row : str
        What a gradient belongs to.
    device : torch.device
        Where eigenvalues are found.

    Returns
    -------
    dict
        Variables of a dataset; see `gram_statistics`.
    """
    norms = np.sqrt(np.einsum("...ii->...i", grams))
    variables: dict[str, Any] = norm_variables(norms, (*dims, row), "loss / weight")
    units = {
        "signal": "(loss / weight)²",
        "noise": "(loss / weight)²",
        "noise_scale": "problems",
        "eigenvalues": "(loss / weight)²",
    }
    for name, values in gram_statistics(grams, problems_each, device).items():
        measure = name.removesuffix("_error").removesuffix("_low").removesuffix("_high")
        own = (*dims, "rank") if measure == "eigenvalues" else dims
        variables[name] = (own, values, {"units": units.get(measure, "1")})
    return variables


def landscape_cosines(means: Tensor) -> dict[str, np.ndarray]:
    """Compute cosines between the mean gradients of K landscapes.

    Parameters
    ----------
    means : Tensor (K, G, N)
        Means over G ≥ 3 disjoint groups of problems, the same in every landscape.

    Returns
    -------
    dict of str to ndarray (K, K)
        `landscape_cosine` of the means over all problems, whose noise the landscapes share; and
        `landscape_cosine_corrected`, freed of it: ⟨G_k, G_l⟩ is estimated from different groups,
        which share no problem, so that noise does not enter its expectation. NaN where ‖G_k‖² is
        not above its 95 % interval; it is not clipped and scatters beyond ±1. Each with `…_error`,
        by jackknife over groups.
    """
    landscapes, groups, size = means.shape
    gram = torch.zeros((landscapes * groups,) * 2, dtype=torch.float64, device=means.device)
    for start in range(0, size, _COLUMNS):
        part = means[..., start : start + _COLUMNS].flatten(0, 1).double()
        gram += part @ part.mT
    products = gram.cpu().numpy().reshape(landscapes, groups, landscapes, groups)
    whole = _cosines(products)
    every = np.arange(groups)
    parts = [_cosines(products[:, every != g][..., every != g]) for g in every]
    names = ("landscape_cosine", "landscape_cosine_corrected")
    found = dict(zip(names, whole[:2], strict=True))
    for i, name in enumerate(names):
        found[f"{name}_error"] = jackknife_error(np.stack([part[i] for part in parts], -1))
    signal, spread = whole[2], jackknife_error(np.stack([part[2] for part in parts], -1))
    told = signal > float(stats.t.ppf(0.975, groups - 1)) * spread
    lost = ~(told[:, None] & told)
    for name in (names[1], f"{names[1]}_error"):
        found[name] = np.where(lost, np.nan, found[name])
    return found


def _cosines(products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines with all products and with those of different groups alone, and the latter's ‖G‖²."""
    groups = products.shape[1]
    together = products.sum((1, 3))
    apart = (together - np.einsum("kglg->kl", products)) / (groups * (groups - 1))
    size, signal = np.sqrt(np.diag(together)), np.diag(apart)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(np.where(signal > 0, signal, np.nan))
        return together / np.outer(size, size), apart / np.outer(root, root), signal


def norm_variables(norm: np.ndarray, dims: tuple[str, ...], units: str) -> dict[str, Any]:
    """Label norms (*dims), with mean, standard deviation and quantiles over the last dimension."""
    unit, outer = {"units": units}, dims[:-1]
    quantiles = np.moveaxis(np.quantile(norm, QUANTILES, axis=-1), 0, -1)
    return {
        "norm": (dims, norm, unit),
        "norm_mean": (outer, norm.mean(-1), unit),
        "norm_mean_error": (outer, mean_error(norm), unit),
        "norm_sd": (outer, norm.std(-1, ddof=1), unit),
        "norm_quantiles": ((*outer, "quantile"), quantiles, unit),
    }

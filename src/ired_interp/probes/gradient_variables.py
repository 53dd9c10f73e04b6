"""Labelled statistics of gradients in the weights, by layer and between landscapes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.probes.gram_statistics import gram_statistics
from ired_interp.probes.loss_gradients import LossGradients

QUANTILES = (0.05, 0.5, 0.95)
ALL = "all"  # the layer that stands for all weights together


def layer_grams(gradients: LossGradients, memory: float) -> tuple[np.ndarray, Tensor]:
    """Compute inner products of all rows, and their means.

    Parameters
    ----------
    gradients : LossGradients
        B rows.
    memory : float
        Bytes that rows may take.

    Returns
    -------
    ndarray (layers + 1, B, B) and Tensor (2, N)
        Inner products in float64, of all weights together first; means of the even and of the odd
        rows.
    """
    chunks = list(gradients.chunks(memory if gradients.count == 1 else memory / 2))
    gram = torch.zeros(len(gradients.layers), gradients.count, gradients.count, dtype=torch.float64)
    halves: Tensor | int = 0
    for i, rows in enumerate(chunks):
        mine = gradients[rows]
        flat = torch.cat(list(mine.values()), dim=1)
        odd = torch.arange(rows.start, rows.stop, device=flat.device) % 2 == 1
        halves = halves + torch.stack([flat[~odd].sum(0), flat[odd].sum(0)])
        del flat
        for j, others in enumerate(chunks[: i + 1]):
            theirs = mine if i == j else gradients[others]
            for layer, name in enumerate(mine):
                block = (mine[name].double() @ theirs[name].double().mT).cpu()
                gram[layer, rows, others], gram[layer, others, rows] = block, block.mT
    counts = torch.tensor([(gradients.count + 1) // 2, gradients.count // 2], device=halves.device)  # type: ignore[union-attr]
    return torch.cat([gram.sum(0, keepdim=True), gram]).numpy(), halves / counts[:, None]


def theta_variables(
    grams: np.ndarray, problems_each: int, dims: tuple[str, ...], row: str = "problem"
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
    for name, values in gram_statistics(grams, problems_each).items():
        own = (*dims, "rank") if name == "eigenvalues" else dims
        variables[name] = (own, values, {"units": units.get(name.removesuffix("_error"), "1")})
    return variables


def landscape_cosines(halves: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosines between the mean gradients of K landscapes.

    Parameters
    ----------
    halves : Tensor (2K, N)
        Means over two disjoint halves of the problems, interleaved.

    Returns
    -------
    ndarray (K, K) and ndarray (K, K)
        Of the means over all problems; and freed of their noise: ⟨G_k, G_l⟩ is estimated from
        different halves, which share no problem, so that noise does not enter its expectation. NaN
        where ‖G_k‖² is not above noise; it is not clipped and scatters beyond ±1.
    """
    gram = (
        (halves.double() @ halves.double().mT)
        .cpu()
        .numpy()
        .reshape(len(halves) // 2, 2, len(halves) // 2, 2)
    )
    together = gram.sum((1, 3))
    apart = (gram[:, 0, :, 1] + gram[:, 1, :, 0]) / 2
    size, signal = np.sqrt(np.diag(together)), np.diag(apart)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(np.where(signal > 0, signal, np.nan))
        return together / np.outer(size, size), apart / np.outer(root, root)


def norm_variables(norm: np.ndarray, dims: tuple[str, ...], units: str) -> dict[str, Any]:
    """Label norms (*dims), with mean, standard deviation and quantiles over the last dimension."""
    unit, outer = {"units": units}, dims[:-1]
    quantiles = np.moveaxis(np.quantile(norm, QUANTILES, axis=-1), 0, -1)
    return {
        "norm": (dims, norm, unit),
        "norm_mean": (outer, norm.mean(-1), unit),
        "norm_sd": (outer, norm.std(-1, ddof=1), unit),
        "norm_quantiles": ((*outer, "quantile"), quantiles, unit),
    }

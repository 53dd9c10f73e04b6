"""Ridge regression of many targets at once, its penalty chosen on problems held out."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

_PENALTIES = torch.logspace(-8, 2, 6, dtype=torch.float64)  # of the mean eigenvalue


def ridge_predictions(
    features: tuple[Tensor, Tensor, Tensor], targets: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Fit linear maps with offset, and predict.

    Parameters
    ----------
    features : tuple of Tensor (N, f), Tensor (V, f), Tensor (T, f)
        Of the problems to fit to, to choose each target's penalty by, and to predict for.
    targets : mapping of str to tuple of Tensor (N, t) and Tensor (V, t)
        Values to fit to, and to choose by.

    Returns
    -------
    dict of str to Tensor (T, t)
        Predictions in float64.

    Examples
    --------
    >>> x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> y = x @ torch.tensor([[1.0], [2.0], [0.0]]).double() + 5
    >>> found = ridge_predictions((x[:20], x[20:25], x[25:]), {"y": (y[:20], y[20:25])})
    >>> bool((found["y"] - y[25:]).abs().max() < 1e-5)
    True
    """
    fit, choose, test = (part.double() for part in features)
    centre = fit.mean(0)
    fit, choose, test = fit - centre, choose - centre, test - centre
    if fit.shape[1] < len(fit):  # in the coordinates of the smaller side of the problem
        values, vectors = torch.linalg.eigh(fit.mT @ fit)
        axes, onto = vectors, (fit @ vectors).mT
    else:
        values, vectors = torch.linalg.eigh(fit @ fit.mT)
        axes, onto = fit.mT @ vectors, vectors.mT
    choose, test = choose @ axes, test @ axes
    penalties = _PENALTIES.to(values) * values.mean()
    shrunk = 1 / (values.clamp(min=0) + penalties[:, None])  # (penalties, axes)
    found = {}
    for name, (known, chosen) in targets.items():
        mean = known.double().mean(0)
        inner = onto @ (known.double() - mean)
        errors = [
            float(((choose * filtered) @ inner + mean - chosen).square().sum())
            for filtered in shrunk
        ]
        found[name] = (test * shrunk[int(np.argmin(errors))]) @ inner + mean
    return found

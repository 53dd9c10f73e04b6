"""Leading directions of gradients over problems, beside those of a Gaussian posterior."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.probes.base import Snapshot
from ired_interp.random import stream
from ired_interp.tasks.posterior import Posterior

_DRAWS = 40  # of a perfect model's gradients


def covariance_overlaps(
    snapshot: Snapshot, landscapes: list[int], gradients: Tensor, p: int, seed: int
) -> dict[str, Any]:
    """Compare the p leading eigenvectors of Cov(g) with those of a perfect model.

    Parameters
    ----------
    snapshot : Snapshot
        Model, B problems and their task.
    landscapes : list of int
        K of them.
    gradients : Tensor (K, B, d)
        At noised answers.
    p : int
        Dimension of the planes.
    seed : int
        Of the draws from which the overlap is found that so many problems allow.

    Returns
    -------
    dict
        Variables of a dataset; none where the posterior is not Gaussian, p is not below d, or a
        perfect model's p-th eigenvalue equals the next everywhere, so that there is no such plane.
    """
    task, (x, y) = snapshot.task, snapshot.batch
    posterior = None if task is None else task.posterior(x[:1])
    curvature = snapshot.exact_curvature()
    count, d = y.shape
    if not isinstance(posterior, Posterior) or curvature is None or not p < d:
        return {}
    noise = snapshot.module.schedule.noise.double()[:, None]
    eigenvalues, order = (noise * curvature)[landscapes].cpu().sort(dim=1, descending=True)
    if (eigenvalues[:, p - 1] <= (1 + 1e-9) * eigenvalues[:, p]).all():
        return {}
    basis = posterior.basis.double().cpu()
    found, expected = [], []
    generator = stream("cpu", seed, "covariance")
    for g, values, places in zip(gradients.cpu(), eigenvalues, order, strict=True):
        found.append(_overlap(g @ basis[:, places], p))
        draws = torch.randn(_DRAWS, count, d, generator=generator, dtype=torch.float64)
        expected.append(_overlap(draws * values.sqrt(), p))
    drawn, unit = torch.stack(expected).numpy(), {"units": "1"}
    name = "covariance_overlap"
    return {
        name: ("landscape", torch.stack(found).numpy(), unit),
        f"{name}_expected": ("landscape", drawn.mean(1), unit),
        f"{name}_expected_low": ("landscape", np.quantile(drawn, 0.025, 1), unit),
        f"{name}_expected_high": ("landscape", np.quantile(drawn, 0.975, 1), unit),
        f"{name}_chance": p / d,
    }


def _overlap(rows: Tensor, p: int) -> Tensor:
    """Overlap (...) of the p leading eigenvectors of rows' covariance with the first p axes."""
    centred = rows - rows.mean(-2, keepdim=True)
    vectors = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -p:]
    inside: Tensor = vectors[..., :p, :].square().sum((-2, -1)) / p
    return inside

"""Values between the layers of one evaluation put into another, and how much of it they restore."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.probes.pairs import summed_by_pair
from ired_interp.probes.spread import ratio_of_means

METRICS = ("energy", "gradient")
_LEAST_QUANTILE = 0.1  # of differences, below which a pair says nothing


class Run(NamedTuple):
    """An evaluation of B rows.

    Attributes
    ----------
    energy : Tensor (B,)
        E.
    gradient : Tensor (B, d_y)
        ∇_y E.
    sites : dict of str to Tensor
        Values between the layers, detached.
    """

    energy: Tensor
    gradient: Tensor
    sites: dict[str, Tensor]


def run(
    energy: Energy, context: Any, y: Tensor, patches: Mapping[str, Tensor] | None = None
) -> Run:
    """Evaluate with some sites moved to given values, through which gradients flow unchanged.

    Parameters
    ----------
    energy : Energy
        With sites.
    context : Any
        `energy.condition(x, k)`.
    y : Tensor (B, d_y)
        Candidates.
    patches : mapping of str to Tensor, optional
        Sites and their values.

    Returns
    -------
    Run
        The evaluation.
    """
    given = patches or {}

    def edit(name: str, value: Tensor) -> Tensor:
        return value + (given[name] - value).detach() if name in given else value

    with torch.enable_grad():
        point = y.detach().requires_grad_()
        found, sites = energy.sites(context, point, edit)
        (gradient,) = torch.autograd.grad(found.sum(), point)
    return Run(
        found.detach().double(),
        gradient.double(),
        {name: value.detach() for name, value in sites.items()},
    )


def restored(patched: Run, start: Run, end: Run) -> dict[str, tuple[float, float]]:
    """Find how far a patch brings evaluations from `start` towards `end`.

    Parameters
    ----------
    patched : Run
        `start` with values of `end` in it.
    start, end : Run
        Of the same B rows, two by two of partners.

    Returns
    -------
    dict of str to tuple of float
        By metric, share and standard error over problems: of E, Σ|m_end − m_start| in the
        direction of each problem's difference, over problems whose difference is above its 10 %
        quantile; of the gradient, along g_end − g_start. 0 nothing, 1 all; outside where parts
        overshoot and cancel.
    """
    direction = end.gradient - start.gradient
    differences = {
        "energy": (end.energy - start.energy, patched.energy - start.energy),
        "gradient": (
            direction.square().sum(1),
            (direction * (patched.gradient - start.gradient)).sum(1),
        ),
    }
    found = {}
    for name, (whole, part) in differences.items():
        size = whole.abs().cpu().numpy()
        moved = (part * whole.sign()).cpu().numpy()
        kept = size >= np.quantile(size, _LEAST_QUANTILE)
        share, error = ratio_of_means(*summed_by_pair(np.stack([moved, size]) * kept))
        found[name] = float(share), float(error)
    return found


def attributions(
    energy: Energy, context: Any, y: Tensor, site: str, end: Tensor, nodes: int = 8
) -> Tensor:
    """Split the change of E by the units of a site, by integrated gradients.

    Parameters
    ----------
    energy, context, y
        As for `run`.
    site : str
        Which.
    end : Tensor (B, h)
        To where the site's value is moved, along a straight line.
    nodes : int
        Of Gauss and Legendre on the line.

    Returns
    -------
    Tensor (B, h)
        In float64; they sum to the change of E.

    References
    ----------
    Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    begin = run(energy, context, y).sites[site]
    places, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(begin, dtype=torch.float64)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        value = (begin + float(place) * (end - begin)).requires_grad_()

        def edit(name: str, own: Tensor, value: Tensor = value) -> Tensor:
            return value if name == site else own

        with torch.enable_grad():
            found = energy.sites(context, y, edit)[0].sum()
        total += float(weight) * torch.autograd.grad(found, value)[0].double()
    return total * (end - begin).double()

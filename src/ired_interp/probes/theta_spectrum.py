"""Hessians of objectives in θ, and what Lanczos, quadrature and trace estimation say of them."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from ired_interp.diffusion import Noise, Objective, Schedule
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.probes.base import Snapshot
from ired_interp.probes.theta_eigenpairs import Settings, eigenpairs
from ired_interp.probes.theta_shares import measure_shares
from ired_interp.random import stream
from ired_interp.spectra import (
    HessianOperator,
    density,
    effective_rank,
    trace,
)

ThetaObjective = Literal["loss", "score", "energy"]
MIXED = -1  # the landscape coordinate of objectives over landscapes drawn as in training
_GRID = 512
_NEARLY_ZERO = 1e-3  # of the largest eigenvalue in magnitude


def weight_count(energy: Energy) -> int:
    """N, the number of weights of an energy that can be trained.

    Raises
    ------
    InputError
        If there are none.
    """
    count = sum(p.numel() for p in energy.parameters() if p.requires_grad)
    if not count:
        raise InputError(
            f"a measurement in theta needs an energy with weights; {type(energy).__name__} has "
            "none."
        )
    return count


class FixedLoss(NamedTuple):
    """An objective in θ on problems, noise and negatives that stay the same.

    Attributes
    ----------
    function : callable
        Data to the mean objective, a scalar.
    data : tuple of Tensor (B, ...)
        What it is taken of.
    energy : Energy
        A copy of the model's, whose weights the function reads.
    """

    function: Callable[[Any], Tensor]
    data: tuple[Tensor, ...]
    energy: Energy


def fixed_loss(
    snapshot: Snapshot,
    objective: ThetaObjective,
    k: int,
    dtype: torch.dtype,
    seed: int,
    draw: int = 0,
) -> FixedLoss:
    """Make an objective in θ on the problems of a snapshot, with noise drawn once.

    Parameters
    ----------
    snapshot : Snapshot
        Model and problems.
    objective : str
        "score", mean (∇_y E − ε)²; "energy", mean E at the noised answer; "loss", the training
        loss, its negatives found once with the weights at hand and then held fixed, as training
        does.
    k : int
        Landscape, or MIXED.
    dtype : torch.dtype
        Arithmetic.
    seed : int
        Of the noise.
    draw : int
        Which of the noises that the seed gives.

    Returns
    -------
    FixedLoss
        Of all its problems.

    Raises
    ------
    InputError
        If the energy has no weights.
    """
    module = snapshot.module
    weight_count(module.energy)
    energy, schedule = deepcopy(module.energy).to(dtype), deepcopy(module.schedule).to(dtype)
    x, y = (part.to(dtype) for part in snapshot.batch)
    source = stream(y.device, seed, "theta", *([draw] if draw else []))
    drawn = Noise.draw(len(y), y.shape[1], module.landscapes, source)
    rows = drawn.k if k == MIXED else torch.full_like(drawn.k, k)
    wrong = module.wrong_answers(x, y, stream(y.device, seed, "wrong"))
    noise = Noise(rows, drawn.eps.to(dtype), drawn.contrast_eps.to(dtype))
    weights = module.weights_of_score(x, y, rows)
    weights = torch.ones_like(y[:, :1]) if weights is None else weights
    free, training = module.free(energy), module.objective
    function, data = _objective(objective, training, free, schedule, x, y, noise, weights, wrong)
    return FixedLoss(function, data, energy)


def theta_operator(
    snapshot: Snapshot,
    objective: ThetaObjective,
    k: int,
    dtype: torch.dtype,
    memory: float,
    seed: int,
    draw: int = 0,
) -> HessianOperator:
    """Make the Hessian (N, N) in θ of a `fixed_loss`, the ranks sharing out its problems.

    Parameters
    ----------
    snapshot, objective, k, dtype, seed, draw
        As for `fixed_loss`.
    memory : float
        Bytes for kept graphs of each rank; its part of the batch is cut to fit.

    Returns
    -------
    HessianOperator
        Of shape (N, N).
    """
    function, data, energy = fixed_loss(snapshot, objective, k, dtype, seed, draw)
    mine = snapshot.ranks.share(len(data[0]))
    share = [tuple(part[mine] for part in data)] if mine.start < mine.stop else []
    group = snapshot.ranks.group(data[0].device)
    return HessianOperator(function, energy, batches=share, memory=int(memory), group=group)


def _objective(
    name: ThetaObjective,
    training: Objective,
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    y: Tensor,
    noise: Noise,
    weights: Tensor,
    wrong: Tensor | None,
) -> tuple[Callable[[Any], Tensor], tuple[Tensor, ...]]:
    noised = schedule.noised(y, noise.k, noise.eps)
    if name == "energy":
        return (lambda rows: energy(*rows).mean()), (x, noised, noise.k)

    def score(x: Tensor, k: Tensor, noised: Tensor, eps: Tensor, weights: Tensor) -> Tensor:
        gradient = energy.evaluate_with_gradient(energy.condition(x, k), noised)[1]
        return (weights * (gradient - eps).square()).mean()

    if name == "score":
        return (lambda rows: score(*rows)), (x, noise.k, noised, noise.eps, weights)
    positive = schedule.noised(y, noise.k, noise.contrast_eps)
    if wrong is None:
        context = energy.condition(x, noise.k)
        negative = training.negative(energy, schedule, context, y, noise).detach()
    else:
        negative = schedule.noised(wrong, noise.k, noise.contrast_eps)

    def loss(rows: tuple[Tensor, ...]) -> Tensor:
        x, k, noised, eps, weights, positive, negative = rows
        context = energy.condition(x, k)
        contrast = F.softplus(
            energy.evaluate(context, positive) - energy.evaluate(context, negative)
        ).mean()
        return score(x, k, noised, eps, weights) + training.contrast_weight * contrast

    return loss, (x, noise.k, noised, noise.eps, weights, positive, negative)


def measure_operator(
    operator: HessianOperator,
    settings: Settings,
    memory: float,
    scratch: Path | None,
    steps: Mapping[str, Tensor] | None = None,
) -> xr.Dataset:
    """Eigenpairs, density and trace of a Hessian.

    Parameters
    ----------
    operator : HessianOperator
        Of shape (N, N).
    settings : Settings
        What to compute.
    memory : float
        Bytes for Lanczos vectors.
    scratch : Path, optional
        A folder from which an interrupted computation goes on.
    steps : mapping of str to Tensor, optional
        What the optimizer adds to each of the operator's parameters.

    Returns
    -------
    xarray.Dataset
        As follows; intervals are at 95 %.

        ============================== ====== ====================================================
        variable                       dims   meaning
        ============================== ====== ====================================================
        `eigenvalues`                  rank   λ, in objective/θ²
        `residuals`                    rank   ‖Hv − λv‖: an eigenvalue lies within it
        `converged`                    rank   whether the residual is at most tol·|λ|
        `gradient_share`,              rank   cos² of gradient and eigenvector; of the optimizer's
        `update_share`                        step, where it is known
        `gradient_in_top`,                    their sums over the `top` eigenpairs (of "BE" the
        `update_in_top`                       upper half); with `…_chance`, what they would be were
                                              the signs of all entries random
        `top`, `chance_in_top`                p; p/N, the share of a random vector
        `density`, `density_low`,      bin    spectral density at `density_grid`, and its band over
        `density_high`                        random vectors
        `trace`, `trace_low`,                 Σλ and its interval
        `trace_high`
        `negative_share`,                     of the density: share of eigenvalues below −0.001 of
        `effective_rank`                      the largest; (Σ|λ|)²/Σλ²; each with `…_error`
        `parameters`, `matvecs`               N; Hessian products spent
        `notes`                               what the residuals do not prove
        ============================== ====== ====================================================
    """
    size = operator.shape[0]
    found = eigenpairs(operator, settings, int(memory), scratch)
    result = xr.Dataset(
        {
            "eigenvalues": (
                "rank",
                found.eigenvalues.numpy(),
                {"long_name": "eigenvalues of the Hessian in θ", "units": "objective / θ²"},
            ),
            "residuals": (
                "rank",
                found.residuals.numpy(),
                {"long_name": "‖Hv − λv‖: an eigenvalue lies within it", "units": "objective / θ²"},
            ),
            "converged": ("rank", found.converged.numpy()),
            "notes": "; ".join(found.notes),
            "parameters": size,
        },
        {"rank": np.arange(len(found.eigenvalues))},
    )
    result.update(measure_shares(operator, found, settings, steps))
    if settings.density_probes:
        file = scratch / "density.npz" if scratch else None
        curve = density(
            operator,
            settings.density_probes,
            min(settings.density_steps, size),
            points=_GRID,
            seed=settings.seed,
            checkpoint=file,
        )
        result["density_grid"] = (
            "bin",
            curve.grid,
            {"long_name": "eigenvalue", "units": "objective / θ²"},
        )
        for name in ("values", "low", "high"):
            variable = "density" if name == "values" else f"density_{name}"
            result[variable] = (
                "bin",
                getattr(curve, name),
                {"long_name": "spectral density (95 % band over probe vectors)"},
            )
        # Most eigenvalues are nearly 0, where their sign says nothing.
        share = curve.share(high=-_NEARLY_ZERO * float(found.eigenvalues.abs().max()))
        for name, estimate in (
            ("negative_share", share),
            ("effective_rank", effective_rank(curve)),
        ):
            result[name], result[f"{name}_error"] = estimate.value, estimate.error
        result["negative_share"].attrs["long_name"] = (
            f"share of eigenvalues below −{_NEARLY_ZERO:g} of the largest"
        )
    if settings.trace_matvecs:
        estimate = trace(operator, settings.trace_matvecs, seed=settings.seed)
        for part in ("value", "low", "high"):
            result["trace" if part == "value" else f"trace_{part}"] = getattr(estimate, part)
    result["matvecs"] = operator.matvecs
    return result

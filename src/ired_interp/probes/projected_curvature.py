"""Traces of the Hessian in y by products with random signs, where all of it is too large."""

from typing import Any

import torch
from torch import Tensor

from ired_interp.diffusion import Schedule
from ired_interp.energy import Energy
from ired_interp.probes.hessians import check_finite
from ired_interp.probes.local_curvature import denoising
from ired_interp.probes.planes import RANDOM, Frame, families

_VALUES = 64  # numbers that a product holds for each entry of its vector, about


def hessian_product(energy: Energy, context: Any, at: Tensor, vector: Tensor) -> Tensor:
    """Return H v (B, d_y) at points and of vectors (B, d_y)."""
    product: Tensor = torch.func.jvp(
        lambda y: energy.evaluate_with_gradient(context, y)[1], (at,), (vector,)
    )[1]
    return product


@torch.no_grad()
def projected_curvature(
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    answer: Tensor,
    at: Tensor,
    k: int,
    frames: list[Frame],
    vectors: int,
    generator: torch.Generator,
    memory: float,
) -> dict[str, Tensor]:
    """Estimate what `local_curvature` measures of planes, without the Hessian's eigenvalues.

    Parameters
    ----------
    energy, schedule, x, answer, at, k, frames
        As for `local_curvature`.
    vectors : int
        Products of each plane, with random signs of its coordinates.
    generator : torch.Generator
        Of the signs.
    memory : float
        Bytes that products may work in, about.

    Returns
    -------
    dict of str to Tensor (B, ...)
        `curvature` and `off_block` (families,), `entries`, `trace`, `gradient_square` and `error`,
        as there; `trace_error`, the standard error of the trace over the vectors. Of a matrix that
        is diagonal in a frame's coordinates its planes' curvature is exact.

    Raises
    ------
    RunError
        If a product is not finite.

    References
    ----------
    Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
    splines", Communications in Statistics 18, 1989.
    """
    noise = schedule.noise[k].double()
    rows = torch.full((len(x),), k, device=x.device)
    context = energy.condition(x.to(at), rows)
    gradient = energy.gradient(x.to(at), at, k).double()
    chunk = max(1, int(memory / (_VALUES * 8 * at.numel())))
    means, mixed = [], []
    traces = at.new_zeros(0, dtype=torch.float64)
    for name, (frame, plane) in families(frames).items():
        shape = (vectors, *at.shape)
        signs = torch.randint(2, shape, generator=generator, device=at.device) * 2 - 1
        inside = signs * plane  # (vectors, B, d_y)
        product = torch.vmap(lambda v: hessian_product(energy, context, at, v), chunk_size=chunk)(
            frame.out(inside).to(at)
        ).double()
        check_finite(product.isfinite().all(), k)
        turned = frame.into(product.permute(1, 2, 0)).permute(2, 0, 1)
        along = noise * (inside * turned).sum(2)
        traces = along if name == RANDOM else traces
        means.append(along.mean(0) / plane.sum(1))
        mixed.append(noise * (turned * (1 - plane)).square().sum(2).mean(0).sqrt())
    return {
        "curvature": torch.stack(means, 1),
        "off_block": torch.stack(mixed, 1),
        "trace": traces.mean(0),
        "trace_error": traces.std(0) / vectors**0.5,
    } | denoising(schedule, answer, at, gradient, families(frames)[RANDOM][1], k)

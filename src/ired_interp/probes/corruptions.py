"""Evaluations that differ in one thing: problem, a part of it, answer, noise or landscape."""

from typing import Any

import torch
from torch import Tensor

from ired_interp.probes.base import Snapshot
from ired_interp.probes.pairs import partners
from ired_interp.probes.rank_manifold import as_matrices
from ired_interp.random import stream

PROBLEM, ENTRY, ROW, EIGENVALUE = "problem", "entry", "row", "eigenvalue"  # of x alone
ANSWER, NOISE = "answer", "noise"
SMOOTHER, SHARPER = "smoother", "sharper"
_STEPS = {SMOOTHER: 1, SHARPER: -1}


def corruptions(snapshot: Snapshot) -> list[str]:
    """List the corruptions that a task has, all of its own distribution.

    Parameters
    ----------
    snapshot : Snapshot
        Model, problems and task.

    Returns
    -------
    list of str
        `problem`, x of the partner (see `pairs.partners`); `entry` and `row`, x without one visible
        entry or row, where x holds entries of a matrix y and 0 else; `eigenvalue`, x with one
        eigenvalue of the partner, where x and y share eigenvectors; `answer`, the partner's y with
        the same noise; `noise`, drawn again; `smoother` and `sharper`, of landscape k + 1 or k − 1.
    """
    (x, y), task = snapshot.batch, snapshot.task
    visible = snapshot.visible()
    found = [PROBLEM]
    if visible is not None and x.shape == y.shape and bool((x[~visible] == 0).all()):
        found.append(ENTRY)
        if as_matrices(x) is not None:
            found.append(ROW)
    if task is not None and task.eigenvectors(x) is not None:
        found.append(EIGENVALUE)
    return [*found, ANSWER, NOISE, SMOOTHER, SHARPER]


@torch.no_grad()
def evaluation(
    snapshot: Snapshot, k: int, corruption: str | None, seed: int
) -> tuple[Any, Tensor] | None:
    """Make the inputs of an evaluation.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems.
    k : int
        Landscape.
    corruption : str, optional
        One of `corruptions`; clean without.
    seed : int
        Of noise, and of which part of x is changed.

    Returns
    -------
    context and Tensor (B, d_y), or None
        As `Energy.evaluate` takes them; None where there is no such landscape.
    """
    module, y = snapshot.module, snapshot.batch.y
    shown = k + _STEPS.get(corruption or "", 0)
    if not 0 <= shown < module.landscapes:
        return None
    generator = stream(y.device, seed, "patching", k)
    eps, other = torch.randn(2, *y.shape, generator=generator, device=y.device, dtype=y.dtype)
    answer = y[partners(len(y), y.device)] if corruption == ANSWER else y
    rows = torch.full((len(y),), k, device=y.device)
    at = module.schedule.noised(answer, rows, other if corruption == NOISE else eps)
    changed = stream(y.device, seed, "corruption")
    problem = _problem(snapshot, corruption, changed)
    return module.free().condition(problem, torch.full_like(rows, shown)), at


def _problem(snapshot: Snapshot, corruption: str | None, generator: torch.Generator) -> Tensor:
    x = snapshot.batch.x
    if corruption == PROBLEM:
        return x[partners(len(x), x.device)]
    if corruption in (ENTRY, ROW):
        visible = snapshot.visible()
        assert visible is not None
        chances = visible.double()
        if corruption == ENTRY:
            return x.scatter(1, _one(chances, generator), 0.0)
        matrices, shown = as_matrices(x), as_matrices(chances)
        assert matrices is not None
        assert shown is not None
        row = _one(shown.amax(2), generator)[..., None].expand(-1, -1, matrices.shape[2])
        return matrices.scatter(1, row, 0.0).flatten(1)
    if corruption == EIGENVALUE:
        assert snapshot.task is not None
        vectors = snapshot.task.eigenvectors(x.double())
        assert vectors is not None
        turned = vectors.mT @ x.double().unflatten(1, vectors.shape[1:]) @ vectors
        values = turned.diagonal(dim1=1, dim2=2)
        place = _one(torch.ones_like(values), generator)
        unit = vectors.gather(2, place[:, None].expand(-1, vectors.shape[1], -1))
        other = values[partners(len(x), x.device)]
        step = other.gather(1, place) - values.gather(1, place)
        moved: Tensor = x.double() + (step[..., None] * unit @ unit.mT).flatten(1)
        return moved.to(x.dtype)
    return x


def _one(chances: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one column of each row (B, 1), by its chance."""
    return torch.multinomial(chances, 1, generator=generator)

"""How energy rises around the answer in directions that change its subspaces, and in others."""

from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.probes.rank_manifold import check_rank, square_matrices
from ired_interp.tasks.posterior import Posterior

LENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of displacements, in Frobenius norms of the answer
RANDOM = "random"

Projection = Callable[[Tensor], Tensor]


def families(x: Tensor, answer: Tensor, rank: int) -> dict[str, Projection]:
    """Planes of directions at answers Y = UΣVᵀ of rank r, as projections of matrices onto them.

    Parameters
    ----------
    x : Tensor (B, d_x)
        Conditions.
    answer : Tensor (B, n²)
        Matrices of rank r < n.
    rank : int
        r.

    Returns
    -------
    dict of str to callable
        Each maps (..., B, n, n) to the same shape. "column" U⊥AVᵀ turns the column space, "row"
        UAV⊥ᵀ the row space, "core" UAVᵀ neither, "normal" U⊥AV⊥ᵀ raises the rank; "visible" and
        "hidden" change entries that x gives or not, where it holds some and 0 for the rest;
        "random" is every direction.
    """
    check_rank(rank, answer.shape[1])
    matrices = square_matrices(answer.double())
    u, _, vt = torch.linalg.svd(matrices)
    left, right = u[..., :rank] @ u[..., :rank].mT, vt[..., :rank, :].mT @ vt[..., :rank, :]

    def both(left_in: bool, right_in: bool) -> Projection:
        def project(z: Tensor) -> Tensor:
            columns: Tensor = left @ z if left_in else z - left @ z
            found: Tensor = columns @ right if right_in else columns - columns @ right
            return found

        return project

    found = {
        "column": both(False, True),
        "row": both(True, False),
        "core": both(True, True),
        "normal": both(False, False),
    }
    if x.shape == answer.shape:
        seen = x == answer
        shares = seen.double().mean(1)
        if bool((seen | (x == 0)).all() and (shares > 0).all() and (shares < 1).all()):
            visible = square_matrices(seen.double())
            found["visible"] = lambda z: z * visible
            found["hidden"] = lambda z: z * (1 - visible)
    return found | {RANDOM: lambda z: z}


def directions(
    planes: dict[str, Projection], answer: Tensor, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw uniform directions of unit length in each plane.

    Parameters
    ----------
    planes : dict
        As `families` returns them.
    answer : Tensor (B, n²)
        The answers.
    count : int
        C, of each answer and plane.
    generator : torch.Generator
        Of the directions.

    Returns
    -------
    dict of str to Tensor (C, B, n²)
        Directions, float64.
    """
    shape = (count, *square_matrices(answer).shape)
    drawn = {}
    for name, project in planes.items():
        gaussian = torch.randn(
            shape, generator=generator, dtype=torch.float64, device=answer.device
        )
        flat = project(gaussian).flatten(-2)
        drawn[name] = flat / flat.norm(dim=-1, keepdim=True)
    return drawn


@torch.no_grad()
def rises(
    energy: Energy,
    x: Tensor,
    answer: Tensor,
    drawn: dict[str, Tensor],
    signal: Tensor,
    noise: Tensor,
    k: int,
) -> Tensor:
    """Mean rise of energy at equal distances from the answer, over directions and their opposites.

    Parameters
    ----------
    energy : Energy
        E.
    x, answer : Tensor (B, d_x), (B, d_y)
        Problems.
    drawn : dict of str to Tensor (C, B, d_y)
        Directions of each family.
    signal, noise : Tensor ()
        √ᾱ_k and σ_k.
    k : int
        Landscape.

    Returns
    -------
    Tensor (families, lengths, B)
        [E(√ᾱ_k(y* ± δ‖y*‖D)) − E(√ᾱ_k y*)]/σ_k, float64.
    """
    base = energy(x, signal * answer, k).double()
    steps = torch.tensor([sign * length for length in LENGTHS for sign in (1, -1)])
    steps = steps.to(answer.device)[:, None, None, None] * answer.norm(dim=1)[:, None]
    found = []
    for unit in drawn.values():
        points = (answer + steps * unit.to(answer.dtype)).flatten(0, 1)
        energies = torch.vmap(lambda y: energy(x, signal * y, k))(points).double()
        found.append(energies.unflatten(0, (len(LENGTHS), -1)).mean(1) - base)
    return torch.stack(found) / noise


def theory_rises(
    planes: dict[str, Projection],
    answer: Tensor,
    posterior: Posterior,
    curvature: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> Tensor:
    """Find what `rises` are for a perfect model, whose Hessian H in y is the same everywhere.

    Parameters
    ----------
    planes : dict
        As `families` returns them.
    answer : Tensor (B, d_y)
        Answers.
    posterior : Posterior
        Whose basis H has.
    curvature : Tensor (d_y,)
        Eigenvalues of H along it.
    signal, noise : Tensor ()
        √ᾱ_k and σ_k.

    Returns
    -------
    Tensor (families, lengths, B)
        ½ᾱ_k δ²‖y*‖² tr(P H)/(σ_k tr P), P the projection onto a family.
    """
    basis = square_matrices(posterior.basis.mT.double())
    found = []
    for project in planes.values():
        parts = (project(b.expand(len(answer), -1, -1)).square().sum((-1, -2)) for b in basis)
        shares = torch.stack(list(parts))  # (d, B)
        found.append((curvature.double()[:, None] * shares).sum(0) / shares.sum(0))
    lengths = torch.tensor(LENGTHS, dtype=torch.float64, device=answer.device).square()
    size = signal.double().square() * answer.double().square().sum(1) / (2 * noise.double())
    return lengths[:, None] * (size * torch.stack(found))[:, None]

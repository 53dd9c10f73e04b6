"""Where subspaces come from: curvature, gradients, solutions, hidden activations."""

from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.diffusion import Noise
from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.geometry import leading_subspace
from ired_interp.module import IREDModule
from ired_interp.probes.loss_gradients import LossGradients, TrainingLoss, layer_of
from ired_interp.random import stream
from ired_interp.tasks.base import Problems


@torch.no_grad()
def hessian_directions(
    energy: Energy, x: Tensor, y: Tensor, k: int, p: int, memory: float
) -> Tensor:
    """Eigenvectors of the p largest eigenvalues of ∇²_y E for each problem, (B, d_y, p)."""
    matrices = energy.hessian(x, y, k, memory)
    if not matrices.isfinite().all():
        raise RunError(
            f"the Hessian in y of landscape {k} is not finite; the weights or the point have diverged."
        )
    return torch.linalg.eigh(matrices.double()).eigenvectors[..., -p:].flip(-1)


def solution_columns(y: Tensor, p: int) -> Tensor:
    """Leading p left singular vectors of each answer as a square matrix, (B, n, p)."""
    side = round(y.shape[1] ** 0.5)
    if side**2 != y.shape[1]:
        raise InputError(
            f"answers of {y.shape[1]} entries are no square matrices and have no column space; choose another source."
        )
    return torch.linalg.svd(y.double().unflatten(1, (side, side))).U[..., :p]


@torch.no_grad()
def energy_gradient_span(energy: Energy, x: Tensor, y: Tensor, k: int, p: int) -> Tensor:
    """Leading p directions of the energy gradients of all problems, (d_y, p)."""
    return _span(energy.gradient(x, y, k), p, "energy gradients")


@torch.no_grad()
def activation_span(
    energy: Energy, x: Tensor, y: Tensor, k: int, p: int, layer: str | None
) -> Tensor:
    """Leading p directions of a layer's output over all problems, (width, p)."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[object, object, object], None]:
        def hook(module: object, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(y):
                seen.setdefault(name, output)

        return hook

    hooks = [
        module.register_forward_hook(keep(name)) for name, module in energy.named_modules() if name
    ]
    try:
        energy(x, y, k)
    finally:
        for handle in hooks:
            handle.remove()
    if layer not in seen:
        raise InputError(
            f"layer {layer!r} has no activations per problem; choose one of {', '.join(seen) or 'none'}."
        )
    return _span(seen[layer], p, f"activations of {layer}")


def loss_gradient_span(
    module: IREDModule,
    problems: Problems,
    k: int,
    p: int,
    layer: str | None,
    seed: int,
    memory: float,
) -> Tensor:
    """Leading p directions of the loss gradients of single problems, (N, p), in all weights or one layer's."""
    gradients = LossGradients(module, problems, k, seed)
    if layer is not None and layer not in gradients.layers:
        raise InputError(
            f"there is no layer {layer!r} with weights; choose one of {', '.join(gradients.layers)}."
        )
    size = gradients.layers[layer] if layer else gradients.size
    if 4 * size * gradients.count > memory:
        raise InputError(
            f"{gradients.count} gradients of {size} weights take {4 * size * gradients.count / 2**30:.1f} GiB, memory_gib allows "
            f"{memory / 2**30:.1f}; lower the number of problems, or choose a layer."
        )
    rows = torch.empty(gradients.count, size)
    for chunk in gradients.chunks(memory / 2):
        found = gradients[chunk]
        rows[chunk] = found[layer] if layer else torch.cat(list(found.values()), dim=1)
    return _span(rows, p, "loss gradients")


def loss_hessian_directions(
    module: IREDModule, problems: Problems, k: int, p: int, layer: str | None, seed: int
) -> Tensor:
    """Eigenvectors of the p largest eigenvalues of the Hessian of the mean loss in the weights, (N, p), by Lanczos."""
    from ired_interp.spectra import HessianOperator, lanczos

    x, y = problems
    loss = TrainingLoss(module)
    generator = stream(y.device, seed, "loss", k)
    rows = torch.full((len(y),), k, device=y.device)
    noise = Noise(
        rows, *torch.randn(2, *y.shape, generator=generator, device=y.device, dtype=y.dtype)
    )
    named = {name: w for name, w in module.energy.named_parameters() if w.requires_grad}
    chosen = {name: w for name, w in named.items() if layer in (None, layer_of(name))}
    if not chosen:
        layers = dict.fromkeys(map(layer_of, named))
        raise InputError(
            f"there is no layer {layer!r} with weights; choose one of {', '.join(layers) or 'none: it has no weights'}."
        )
    spectrum = lanczos(
        HessianOperator(lambda: loss(x, y, noise), chosen),
        p,
        "LA",
        tol=1e-4,
        seed=seed,
        progress=False,
    )
    if not spectrum.converged.all():
        raise RunError(
            f"{int((~spectrum.converged).sum())} of {p} eigenvectors of landscape {k} did not converge ({spectrum.stopped})."
        )
    return spectrum.eigenvectors


def _span(rows: Tensor, p: int, what: str) -> Tensor:
    if not rows.isfinite().all():
        raise RunError(f"the {what} are not finite; the weights or the point have diverged.")
    rows = rows.cpu()
    if len(rows) > rows.shape[1]:
        return torch.linalg.svd(rows.double(), full_matrices=False).Vh[:p].mT
    return leading_subspace(rows, p)[0]

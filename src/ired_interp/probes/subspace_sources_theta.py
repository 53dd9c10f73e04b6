"""Where subspaces in the weights come from: gradients and curvature of the training loss."""

import torch
from torch import Tensor

from ired_interp.diffusion import Noise
from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.loss_gradients import LossGradients, TrainingLoss, layer_of
from ired_interp.probes.subspace_sources_y import leading_span
from ired_interp.random import stream
from ired_interp.spectra import HessianOperator, lanczos
from ired_interp.tasks.base import Problems

_RESOLVED = 1e-2  # residual, relative to the eigenvalue, at which an eigenvector still counts


def layer_sizes(energy: Energy) -> dict[str, int]:
    """Count the trainable weights of every layer.

    Parameters
    ----------
    energy : Energy
        Whose weights.

    Returns
    -------
    dict
        Layer → number of its weights; a layer is named like its parameters, without the last part.

    Raises
    ------
    InputError
        If it has none.
    """
    sizes: dict[str, int] = {}
    for name, weights in energy.named_parameters():
        if weights.requires_grad:
            sizes[layer_of(name)] = sizes.get(layer_of(name), 0) + weights.numel()
    if not sizes:
        raise InputError(f"{type(energy).__name__} has no weights; measure it in space 'y'.")
    return sizes


def loss_gradient_span(
    module: IREDModule,
    problems: Problems,
    k: int,
    p: int,
    layer: str | None,
    seed: int,
    memory: float,
) -> Tensor:
    """Find the leading p directions of the loss gradients of single problems.

    Parameters
    ----------
    module : IREDModule
        Whose loss and weights.
    problems : Problems
        B of them.
    k : int
        Landscape.
    p : int
        How many.
    layer : str, optional
        Whose weights; all without it.
    seed : int
        Of the noise of the loss.
    memory : float
        Bytes that gradients may take.

    Returns
    -------
    Tensor
        (N, p) float64.

    Raises
    ------
    InputError
        If the gradients do not fit in the memory.
    """
    gradients = LossGradients(module, problems, k, seed)
    size = gradients.layers[layer] if layer else gradients.size
    if 4 * size * gradients.count > memory:
        raise InputError(
            f"{gradients.count} gradients of {size} weights take "
            f"{4 * size * gradients.count / 2**30:.1f} GiB, memory_gib allows "
            f"{memory / 2**30:.1f}; lower the number of problems, or choose a layer."
        )
    rows = torch.empty(gradients.count, size)
    for chunk in gradients.chunks(memory / 2):
        found = gradients[chunk]
        rows[chunk] = found[layer] if layer else torch.cat(list(found.values()), dim=1)
    return leading_span(rows, p, "loss gradients")


def loss_hessian_directions(
    module: IREDModule,
    problems: Problems,
    k: int,
    p: int,
    layer: str | None,
    seed: int,
    memory: float,
) -> Tensor:
    """Find the eigenvectors of the p largest eigenvalues of the loss Hessian, by Lanczos.

    Parameters
    ----------
    module, problems, k, p, layer, seed
        As in `loss_gradient_span`; the loss is a mean over the problems.
    memory : float
        Bytes that the Lanczos basis may take.

    Returns
    -------
    Tensor
        (N, p), descending.

    Raises
    ------
    RunError
        If an eigenvector is not resolved.
    """
    x, y = problems
    loss = TrainingLoss(module)
    generator = stream(y.device, seed, "loss", k)
    rows = torch.full((len(y),), k, device=y.device)
    noise = Noise(
        rows, *torch.randn(2, *y.shape, generator=generator, device=y.device, dtype=y.dtype)
    )
    chosen = {
        name: w
        for name, w in module.energy.named_parameters()
        if w.requires_grad and layer in (None, layer_of(name))
    }
    operator = HessianOperator(lambda: loss(x, y, noise), chosen)
    spectrum = lanczos(operator, p, "LA", tol=1e-4, memory=int(memory), seed=seed, progress=False)
    unresolved = spectrum.residuals > _RESOLVED * spectrum.eigenvalues.abs()
    if unresolved.any():
        raise RunError(
            f"{int(unresolved.sum())} of {p} eigenvectors of landscape {k} are not resolved: "
            f"{'; '.join(spectrum.notes)}."
        )
    return spectrum.eigenvectors

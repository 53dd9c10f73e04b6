"""Where subspaces in the weights come from: gradients and curvature of the training loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ired_interp.diffusion import Noise
from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.geometry import Eigengap
from ired_interp.geometry.resolution import resolution
from ired_interp.module import IREDModule
from ired_interp.probes.gradient_rows import layer_of
from ired_interp.probes.loss_gradients import LossGradients, TrainingLoss
from ired_interp.probes.subspace_pairs import Frame
from ired_interp.random import stream
from ired_interp.spectra import HessianOperator, lanczos
from ired_interp.tasks.base import Problems

_RESOLVED = 1e-2  # residual, relative to the eigenvalue, at which an eigenvector still counts
_GROUPS = 8  # of problems, over which the eigengap of a loss Hessian scatters


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


def loss_gradient_rows(
    module: IREDModule,
    problems: Problems,
    k: int,
    layer: str | None,
    seed: int,
    memory: float,
) -> Tensor:
    """Compute the loss gradients of single problems.

    Parameters
    ----------
    module : IREDModule
        Whose loss and weights.
    problems : Problems
        B of them.
    k : int
        Landscape.
    layer : str, optional
        Whose weights; all without it.
    seed : int
        Of the noise of the loss.
    memory : float
        Bytes that gradients may take.

    Returns
    -------
    Tensor
        (B, N).
    """
    return LossGradients(module, problems, k, seed).rows(layer, memory)


def loss_hessian_frame(
    module: IREDModule,
    halves: tuple[Problems, Problems],
    k: int,
    p: int,
    layer: str | None,
    seeds: tuple[int, int],
    memory: float,
) -> Frame:
    """Find the eigenvectors of the p largest eigenvalues of the loss Hessian, by Lanczos.

    Parameters
    ----------
    module : IREDModule
        Whose loss and weights.
    halves : tuple of Problems
        Over which the loss is a mean, for the first and the second estimate.
    k : int
        Landscape.
    p : int
        How many.
    layer : str, optional
        Whose weights; all without it.
    seeds : tuple of int
        Of the noise of each half's loss.
    memory : float
        Bytes that a Lanczos basis may take.

    Returns
    -------
    Frame
        Of (N, p) bases, descending; the gap of one half is taken over groups of the other's
        problems.
    """
    losses = [NoisedLoss(module, *half) for half in zip(halves, [k, k], seeds, strict=True)]
    wholes, parts = [], []
    for loss in losses:
        groups = torch.arange(loss.count).tensor_split(min(_GROUPS, loss.count))
        wholes.append(loss.hessian(layer))
        parts.append([loss.hessian(layer, rows) for rows in groups])
    return frame_of_hessians(wholes, parts, p, memory, seeds, f"landscape {k}")


def frame_of_hessians(
    wholes: Sequence[HessianOperator],
    parts: Sequence[Sequence[HessianOperator]],
    p: int,
    memory: float,
    seeds: tuple[int, int],
    where: str,
) -> Frame:
    """Find the eigenvectors of the p largest eigenvalues of two estimates of a Hessian.

    Parameters
    ----------
    wholes : sequence of HessianOperator
        The two estimates, (N, N) with N above p.
    parts : sequence of sequences of HessianOperator
        Of each, what it is a mean of.
    p : int
        How many.
    memory : float
        Bytes that a Lanczos basis may take.
    seeds : tuple of int
        Of the start vectors.
    where : str
        Of what, in a message.

    Returns
    -------
    Frame
        Of (N, p) bases, descending; the gap of one estimate is taken over the parts of the other.
    """
    found = [
        leading_eigenpairs(whole, p, memory, seed, where)
        for whole, seed in zip(wholes, seeds, strict=True)
    ]
    gaps = []
    for group, (values, vectors) in zip(parts, found[::-1], strict=True):
        for part in group:
            pair = (vectors[:, i].to(part.device) for i in (p - 1, p))
            last, beyond = (float(v.double() @ (part @ v).double()) for v in pair)
            gaps.append((last - beyond) / float(values.abs().max()))
    bases = [vectors[:, :p] for _, vectors in found]
    rounding = resolution(len(bases[0]), bases[0].dtype)
    return Frame(bases[0], bases[1], Eigengap.of(torch.tensor(gaps), rounding))


class NoisedLoss:
    """The training loss of a module on problems, with noise drawn once.

    Parameters
    ----------
    module : IREDModule
        Whose loss and weights.
    problems : Problems
        Over which it is a mean.
    k : int
        Landscape.
    seed : int
        Of the noise.
    """

    def __init__(self, module: IREDModule, problems: Problems, k: int, seed: int) -> None:
        self.problems, self.count = problems, len(problems.y)
        y = problems.y
        self._module, self._loss = module, TrainingLoss(module)
        generator = stream(y.device, seed, "loss", k)
        drawn = torch.randn(2, *y.shape, generator=generator, device=y.device, dtype=y.dtype)
        self._noise = Noise(torch.full((len(y),), k, device=y.device), *drawn)

    def hessian(self, layer: str | None, rows: Tensor | slice = slice(None)) -> HessianOperator:
        """Return its Hessian in the weights of a layer, over some of the problems."""
        chosen = {
            name: w
            for name, w in self._module.energy.named_parameters()
            if w.requires_grad and layer in (None, layer_of(name))
        }
        x, y = (part[rows] for part in self.problems)
        noise = Noise(*(part[rows] for part in self._noise))
        return HessianOperator(lambda: self._loss(x, y, noise), chosen)


def leading_eigenpairs(
    operator: HessianOperator, p: int, memory: float, seed: int, where: str
) -> tuple[Tensor, Tensor]:
    """Find the p largest eigenvalues of a Hessian and the next, by Lanczos.

    Parameters
    ----------
    operator : HessianOperator
        (N, N), N above p.
    p : int
        How many.
    memory : float
        Bytes that the Lanczos basis may take.
    seed : int
        Of the start vector.
    where : str
        Of what, in a message.

    Returns
    -------
    tuple of Tensor
        (p + 1,) eigenvalues and (N, p + 1) eigenvectors, descending.

    Raises
    ------
    RunError
        If one of the first p is not resolved.
    """
    spectrum = lanczos(
        operator, p + 1, "LA", tol=1e-4, memory=int(memory), seed=seed, progress=False
    )
    unresolved = (spectrum.residuals > _RESOLVED * spectrum.eigenvalues.abs())[:p]
    if unresolved.any():
        raise RunError(
            f"{int(unresolved.sum())} of {p} eigenvectors of {where} are not resolved: "
            f"{'; '.join(spectrum.notes)}."
        )
    return spectrum.eigenvalues, spectrum.eigenvectors

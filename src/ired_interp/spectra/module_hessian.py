"""The spectrum of a module's Hessian in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Weights, checked_source, in_fixed_order
from ired_interp.spectra.density import Density, density
from ired_interp.spectra.diagonal import Diagonal, diagonal
from ired_interp.spectra.estimate import Estimate
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.spectra.lanczos import Which, lanczos
from ired_interp.spectra.module_loss import ModuleLoss
from ired_interp.spectra.spectrum import Spectrum
from ired_interp.spectra.trace import trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = TypeVar("Result")


def hessian(
    module: nn.Module,
    loader: Iterable[Any],
    loss: Callable[..., Tensor] | None = None,
    batches: int | None = 8,
    *,
    weights: Weights = "rows",
    memory: int | str | None = None,
) -> ModuleHessian:
    """Hessian of a module's loss in its trainable parameters, at their present values.

    The module is measured in evaluation mode (no dropout, BatchNorm's running statistics), and is
    as it was after; for another mode make a ``HessianOperator``.

    Parameters
    ----------
    module : Module
        Any; its own loss is ``training_step`` of a LightningModule, or ``loss`` of the output, as
        Hugging Face models have it.
    loader : iterable
        Of batches: a DataLoader or a list.
    loss : callable, optional
        In place of the module's own: ``loss(output, target)`` if batches are pairs (input, target),
        ``loss(module, batch)`` if they are anything else.
    batches : int or None
        How many, from the first, which are then held in memory; None goes through all of the loader
        for every product.
    weights, memory
        As in ``HessianOperator``.

    Returns
    -------
    ModuleHessian
        Which computes what it is asked for, once.

    Raises
    ------
    InputError
        If module, loss, loader, weights or memory are unusable.

    Examples
    --------
    >>> import torch
    >>> from ired_interp import spectra
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> H = spectra.hessian(model, [(x, torch.zeros(2, 1))], torch.nn.functional.mse_loss)
    >>> H.eigenvalues(2).eigenvalues.round(decimals=3)
    tensor([4., 1.], dtype=torch.float64)
    """
    chosen = checked_source(loader, "loader")
    if batches is not None:
        if batches < 1:
            raise InputError(f"batches is {batches}; expected how many to take, or None for all")
        chosen = list(islice(in_fixed_order(chosen), batches))
    objective = ModuleLoss(module, loss)
    return ModuleHessian(
        HessianOperator(objective, module, batches=chosen, weights=weights, memory=memory)
    )


class ModuleHessian:
    """What can be known of a Hessian; each answer is computed once.

    Parameters
    ----------
    operator : HessianOperator
        Of shape (N, N).

    Attributes
    ----------
    operator : HessianOperator
        For products, gradients, blocks and layers.
    """

    def __init__(self, operator: HessianOperator) -> None:
        self.operator = operator
        self._known: dict[tuple[Any, ...], Any] = {}

    def eigenvalues(self, k: int = 10, which: Which = "LM", tol: float = 1e-3) -> Spectrum:
        """Find k extreme eigenpairs.

        Parameters
        ----------
        k : int
            How many.
        which : {"LM", "LA", "SA", "BE"}
            Largest in magnitude, largest, smallest, or half from both ends.
        tol : float
            Residual relative to each eigenvalue.

        Returns
        -------
        Spectrum
            Eigenvalues, eigenvectors, residuals; as of ``lanczos``.
        """
        return self._once(lanczos, k, which, tol)

    def density(self, probes: int = 10, steps: int = 100) -> Density:
        """Compute the density of all eigenvalues, with a band.

        Parameters
        ----------
        probes, steps : int
            As of ``density``.

        Returns
        -------
        Density
            On a grid.
        """
        return self._once(density, probes, steps)

    def trace(self, matvecs: int = 40) -> Estimate:
        """Estimate the trace.

        Parameters
        ----------
        matvecs : int
            Products.

        Returns
        -------
        Estimate
            With its error.
        """
        return self._once(trace, matvecs)

    def diagonal(self, matvecs: int = 100) -> Diagonal:
        """Estimate the diagonal; ``operator.unflatten`` gives entries the parameters' shapes.

        Parameters
        ----------
        matvecs : int
            Products.

        Returns
        -------
        Diagonal
            With the error of each entry.
        """
        return self._once(diagonal, matvecs)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the density, with a tick below each of the ten eigenvalues largest in magnitude.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; into pyplot's axes where not given.

        Returns
        -------
        matplotlib.axes.Axes
            That it is drawn into.
        """
        ax = self.density().plot(ax)
        values = self.eigenvalues(10).eigenvalues.numpy()
        ax.plot(values, [0.02] * len(values), "|", color="k", transform=ax.get_xaxis_transform())
        return ax

    def _once(self, solve: Callable[..., Result], *settings: Any) -> Result:
        key = (solve, *settings)
        if key not in self._known:
            self._known[key] = solve(self.operator, *settings)
        found: Result = self._known[key]
        return found

"""The contract of every energy E_θ(x, y, k).

Over 300 lines: half of them say to those who write an energy what each method promises.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ired_interp.energy.checks import check_sizes, check_tensor
from ired_interp.errors import InputError
from ired_interp.registry import Registered
from ired_interp.spectra import batched_hessian

LandscapeIndex = int | Tensor
Edit = Callable[[str, Tensor], Tensor]  # of a site's name and value: the value to go on with


class Energy(Registered, nn.Module, ABC):
    """A scalar E_θ(x, y, k) per row, and its derivatives in y.

    A subclass implements `evaluate`. The gradient comes from `torch.func.grad`, which works in
    every gradient mode (inference mode included), lets parameter gradients through and compiles; a
    subclass overrides `evaluate_with_gradient` or `hessian` where a closed form pays.

    Parameters
    ----------
    condition_dim : int
        d_x, entries of the condition x.
    solution_dim : int
        d_y, entries of the solution y.
    landscapes : int
        K, number of landscapes; k runs from 0 (sharpest) to K − 1 (smoothest).

    Raises
    ------
    InputError
        If one of them is not positive.

    Examples
    --------
    >>> class Bowl(Energy):
    ...     def evaluate(self, context, y):
    ...         x, k = context
    ...         return (y - x).square().sum(1)
    >>> energy = Bowl(condition_dim=2, solution_dim=2)
    >>> x, y = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
    >>> energy(x, y, 0), energy.gradient(x, y, 0), energy.hessian(x, y, 0)
    (tensor([5.]), tensor([[2., 4.]]), tensor([[[2., 0.],
             [0., 2.]]]))
    """

    any_size: ClassVar[bool] = False  # whether one energy takes problems of several sizes
    unused: ClassVar[str] = r"(?!)"  # names of published parameters without effect, a pattern

    def __init__(self, condition_dim: int, solution_dim: int, landscapes: int = 10) -> None:
        super().__init__()
        nn.Module.register_load_state_dict_pre_hook(self, _drop_unused)
        sizes = {"condition_dim": condition_dim, "solution_dim": solution_dim}
        check_sizes(type(self).__name__, **sizes, landscapes=landscapes)
        self.condition_dim, self.solution_dim = condition_dim, solution_dim
        self.landscapes = landscapes

    @abstractmethod
    def evaluate(self, context: Any, y: Tensor) -> Tensor:
        """Energies of candidates.

        Parameters
        ----------
        context : Any
            What `condition` returned.
        y : Tensor (B, d_y)
            Candidates.

        Returns
        -------
        Tensor (B,)
            Their energies.
        """

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Learn before training what the energy must know of its problems; here nothing.

        Parameters
        ----------
        x : Tensor (N, d_x)
            Problems of the kind that it will be trained on.
        y : Tensor (N, d_y)
            Their answers.
        """

    def condition(self, x: Tensor, k: Tensor) -> Any:
        """Compute what depends on x and k alone, once where many y follow.

        Parameters
        ----------
        x : Tensor (B, d_x)
            Conditions.
        k : Tensor (B,)
            Landscape indices.

        Returns
        -------
        Any
            The context of `evaluate`; here simply (x, k).
        """
        return x, k

    def hold(self, context: Any, y: Tensor) -> Tensor:
        """Put into y (B, d_y) the entries that problems give; here none."""
        return y

    def evaluate_with_gradient(self, context: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and their gradients in y.

        Parameters
        ----------
        context : Any
            What `condition` returned.
        y : Tensor (B, d_y)
            Candidates.

        Returns
        -------
        tuple of Tensor (B,) and Tensor (B, d_y)
            E and ∇_y E.
        """
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            # Up to torch 2.11 torch.func.grad answers 0 in inference mode, and says nothing.
            with torch.inference_mode(False), torch.no_grad():
                return self.evaluate_with_gradient(*tree_map(_normal, (context, y)))

        def total(y: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.evaluate(context, y)
            self._check_energy(energy, y)
            return energy.sum(), energy

        gradient, energy = torch.func.grad(total, has_aux=True)(y)
        return energy, gradient

    def sites(
        self, context: Any, y: Tensor, edit: Edit | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """E (B,) and named values on the way, which `edit` may replace; see `MLPEnergy.sites`.

        Raises
        ------
        InputError
            If it has none.
        """
        raise InputError(f"{type(self).__name__} has no sites; MLPEnergy has.")

    def forward(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        """Evaluate energies.

        Parameters
        ----------
        x : Tensor (B, d_x)
            Conditions.
        y : Tensor (B, d_y)
            Candidates.
        k : int or Tensor (B,)
            Landscape index, 0 … K − 1.

        Returns
        -------
        Tensor (B,)
            E(x, y, k).

        Raises
        ------
        InputError
            If a shape or a landscape index does not fit, or the energy is not one scalar per row.
        """
        energy = self.evaluate(self.condition(x, self._rows(x, y, k)), y)
        self._check_energy(energy, y)
        return energy

    def energy_and_gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> tuple[Tensor, Tensor]:
        """Energies (B,) and ∇_y E (B, d_y); arguments and errors as in `forward`."""
        return self.evaluate_with_gradient(self.condition(x, self._rows(x, y, k)), y)

    def gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        """∇_y E (B, d_y); arguments and errors as in `forward`."""
        return self.energy_and_gradient(x, y, k)[1]

    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """Hessians in y.

        Parameters
        ----------
        x, y, k : Tensor (B, d_x), Tensor (B, d_y), int or Tensor (B,)
            As in `forward`.
        memory : float
            Bytes that it may work with, about, beside the result.

        Returns
        -------
        Tensor (B, d_y, d_y)
            ∇²_y E.

        Raises
        ------
        InputError
            As in `forward`.
        """
        rows = self._rows(x, y, k)
        return batched_hessian(lambda y, x, k: self(x, y, k), y, x, rows, memory=int(memory))

    def solution_size(self, x: Tensor) -> int:
        """Return d_y of the solutions to problems x (B, d_x).

        Parameters
        ----------
        x : Tensor (B, d_x)
            Problems.

        Returns
        -------
        int
            d_y.

        Raises
        ------
        InputError
            If x has not the shape that the energy takes.
        """
        self._check_width("x", x, self.condition_dim)
        return self.solution_dim

    def without_unused(self, state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Drop from a state the published parameters that have no effect.

        Parameters
        ----------
        state : dict of str to Tensor
            By name.
        prefix : str
            Under which the energy's names lie in it.

        Returns
        -------
        dict of str to Tensor
            The others.
        """
        unused = re.compile(re.escape(prefix) + f"(?:{self.unused})")
        return {name: value for name, value in state.items() if not unused.fullmatch(name)}

    def _check_width(self, name: str, tensor: Tensor, width: int) -> None:
        check_tensor(name, tensor, self)
        if tensor.ndim != 2 or tensor.shape[1] != width:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}, but this {type(self).__name__} takes "
                f"(batch, {width}); pass data of the task that the energy was made for."
            )

    def _rows(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        """Return the landscape of every row, once all shapes are checked.

        Raises
        ------
        InputError
            If one does not fit.
        """
        self._check_width("y", y, self.solution_size(x))
        if len(x) != len(y):
            raise InputError(
                f"x has {len(x)} rows and y has {len(y)}; give one condition per candidate."
            )
        if isinstance(k, int):
            if not 0 <= k < self.landscapes:
                raise InputError(
                    f"landscape {k} does not exist; this energy has landscapes 0 to "
                    f"{self.landscapes - 1}."
                )
            return torch.full((len(y),), k, device=y.device)
        if k.shape != (len(y),) or k.is_floating_point():
            raise InputError(
                f"k is {k.dtype} of shape {tuple(k.shape)}; expected an int or ({len(y)},) "
                "integers."
            )
        return k

    def _check_energy(self, energy: Tensor, y: Tensor) -> None:
        if energy.shape != (len(y),):
            raise InputError(
                f"{type(self).__name__} returned an energy of shape {tuple(energy.shape)} for "
                f"{len(y)} rows; an energy is one scalar per row."
            )


def _normal(value: Any) -> Any:
    """Make a tensor of inference mode one that has derivatives; leave anything else."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _drop_unused(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, Energy)
    for name in state.keys() - module.without_unused(state, prefix).keys():
        del state[name]

"""How `solve` minimises: its settings, and the rule of the inner steps that follows from them."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ired_interp.errors import InputError

Preset = Literal["corrected", "published"]


@dataclass(frozen=True)
class Inference:
    """How `solve` minimises.

    Parameters
    ----------
    preset : str
        "corrected", this project's rules, or "published", the authors' code to the letter
        (solutions kept within ±2, factor 2 from the second inner step on, NaN energies accepted,
        the last jump's scale left in y).
    steps : int
        T, inner steps per landscape.
    jump : bool
        Begin each landscape with the jump y ← √ᾱ_k ŷ to the predicted solution ŷ.
    gradient_descent : bool
        False replaces the inner steps by ancestral sampling (reverse diffusion), the first row of
        the paper's ablation.
    later_factor : float, optional
        Factor on η_k from the second inner step of a landscape on; None takes the preset's (1 or
        2).
    bound : float, optional
        Solutions are kept within ±bound; None takes the preset's: 2 where "published", else the
        value range of the problems at hand.

    Raises
    ------
    InputError
        If a setting does not exist, or is out of range.
    """

    preset: Preset = "corrected"
    steps: int = 5
    jump: bool = True
    gradient_descent: bool = True
    later_factor: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in ("corrected", "published"):
            raise InputError(
                f"inference preset {self.preset!r} does not exist; choose 'corrected' or "
                "'published'."
            )
        if self.steps < 0:
            raise InputError(f"inference.steps is {self.steps}; it must be 0 or more.")
        if self.later_factor is not None and not 0 < self.later_factor < math.inf:
            raise InputError(
                f"inference.later_factor is {self.later_factor}; expected a positive number."
            )
        if self.bound is not None and not self.bound > 0:
            raise InputError(
                f"inference.bound is {self.bound}; it must be positive ('.inf' for no bound)."
            )

    @property
    def descent(self) -> "Descent":
        """The rule of the inner steps; without a bound where none is set."""
        published = self.preset == "published"
        return Descent(
            later_factor=(2.0 if published else 1.0)
            if self.later_factor is None
            else self.later_factor,
            bound=(2.0 if published else math.inf) if self.bound is None else self.bound,
            accept_nan=published,
        )

    def within(self, value_range: float | None) -> "Inference":
        """Return the settings for answers that lie within ±value_range (None: not known)."""
        if self.bound is not None or self.preset == "published" or value_range is None:
            return self
        return replace(self, bound=value_range)


@dataclass(frozen=True)
class Descent:
    """The rule of the inner steps: step factor, bound on y/√ᾱ_k, acceptance of NaN energies."""

    later_factor: float = 1.0
    bound: float = math.inf
    accept_nan: bool = False

    def clamp(self, y: Tensor, signal: Tensor) -> Tensor:
        """Keep y (B, d_y) within ±bound·√ᾱ_k, √ᾱ_k given per row as (B, 1)."""
        if self.bound == math.inf:
            return y
        limit = self.bound * signal
        return torch.maximum(torch.minimum(y, limit), -limit)

    def accepts(self, new: Tensor, old: Tensor) -> Tensor:
        """Tell the rows (B,) whose new energy is kept."""
        return ~(new > old) if self.accept_nan else (new <= old) & new.isfinite()

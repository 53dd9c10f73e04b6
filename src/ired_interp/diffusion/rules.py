"""How `solve` minimises: its settings, and the rule of the inner steps that follows from them."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ired_interp.errors import InputError

Preset = Literal["corrected", "published"]


_MOST_STEPS = 10_000  # inner steps; a minimisation that needs more does not converge


def check_steps(name: str, steps: int) -> None:
    """Refuse a number of inner steps per landscape that is negative, or takes without end.

    Raises
    ------
    InputError
        If it is.
    """
    if not 0 <= steps <= _MOST_STEPS:
        raise InputError(
            f"{name} is {steps}; it must be 0 or more, and at most {_MOST_STEPS}: every landscape "
            "of every problem takes as many."
        )


@dataclass(frozen=True)
class Published:
    """Constants of the authors' code for one kind of problem, to which a preset refers.

    Attributes
    ----------
    bound : float
        Solutions are kept within ±bound.
    later_factor : float
        Factor on η_k from the second inner step of a landscape on.
    final_bound : float, optional
        Bound once more after the inner steps; None is `bound`.
    """

    bound: float = 2.0
    later_factor: float = 2.0
    final_bound: float | None = None


CONTINUOUS = Published()


@dataclass(frozen=True)
class Inference:
    """How `solve` minimises.

    Parameters
    ----------
    preset : str
        "corrected", this project's rules, or "published", the authors' code to the letter (bounds
        and step factor of the task's `Published`, NaN energies accepted, the last jump's scale left
        in y).
    steps : int
        T, inner steps per landscape.
    jump : bool
        Begin each landscape with the jump y ← √ᾱ_k ŷ to the predicted solution ŷ.
    gradient_descent : bool
        False replaces the inner steps by ancestral sampling (reverse diffusion), the first row of
        the paper's ablation.
    later_factor : float, optional
        Factor on η_k from the second inner step of a landscape on; None takes the preset's (1, or
        what was published).
    bound : float, optional
        Solutions are kept within ±bound; None takes the preset's: what was published, else the
        value range of the problems at hand.
    final_bound : float, optional
        Bound on what the inner steps of a landscape end with; None takes the preset's, which is
        `bound` unless another was published.

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
    final_bound: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in ("corrected", "published"):
            raise InputError(
                f"inference preset {self.preset!r} does not exist; choose 'corrected' or "
                "'published'."
            )
        check_steps("inference.steps", self.steps)
        if self.later_factor is not None and not 0 < self.later_factor < math.inf:
            raise InputError(
                f"inference.later_factor is {self.later_factor}; expected a positive number."
            )
        for name in ("bound", "final_bound"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(
                    f"inference.{name} is {value}; it must be positive ('.inf' for no bound)."
                )

    @property
    def descent(self) -> "Descent":
        """The rule of the inner steps; without a bound where none is set."""
        settings = self.within(None)
        return Descent(
            later_factor=1.0 if settings.later_factor is None else settings.later_factor,
            bound=math.inf if settings.bound is None else settings.bound,
            final_bound=settings.final_bound,
            accept_nan=self.preset == "published",
        )

    def within(self, value_range: float | None, published: Published = CONTINUOUS) -> "Inference":
        """Return the settings for answers that lie within ±value_range (None: not known).

        Parameters
        ----------
        value_range : float, optional
            The bound of the preset "corrected".
        published : Published
            The constants of the preset "published".

        Returns
        -------
        Inference
            In which what was left to the preset is set, as far as it is known.
        """
        preset: dict[str, Any] = {"bound": value_range}
        if self.preset == "published":
            preset = asdict(published)
        return replace(self, **{n: v for n, v in preset.items() if getattr(self, n) is None})


@dataclass(frozen=True)
class Descent:
    """The rule of the inner steps: step factor, bounds on y/√ᾱ_k, acceptance of NaN energies."""

    later_factor: float = 1.0
    bound: float = math.inf
    accept_nan: bool = False
    final_bound: float | None = None

    def clamp(self, y: Tensor, signal: Tensor) -> Tensor:
        """Keep y (B, d_y) within ±bound·√ᾱ_k, √ᾱ_k given per row as (B, 1)."""
        return _within(y, self.bound, signal)

    def clamp_final(self, y: Tensor, signal: Tensor) -> Tensor:
        """Keep what the inner steps end with within its bound, as `clamp`."""
        return _within(y, self.bound if self.final_bound is None else self.final_bound, signal)

    def accepts(self, new: Tensor, old: Tensor) -> Tensor:
        """Tell the rows (B,) whose new energy is kept."""
        return ~(new > old) if self.accept_nan else (new <= old) & new.isfinite()


def _within(y: Tensor, bound: float, signal: Tensor) -> Tensor:
    if bound == math.inf:
        return y
    limit = bound * signal
    return torch.maximum(torch.minimum(y, limit), -limit)

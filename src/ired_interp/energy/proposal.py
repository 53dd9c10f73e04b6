"""Two energies of one network: as published, or the distance of y from the answer it proposes."""

from abc import abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from ired_interp.energy.base import Energy
from ired_interp.schedule import Schedule


class Level(NamedTuple):
    """How much signal √ᾱ_k and noise σ_k the landscapes of rows hold, each (B, 1)."""

    signal: Tensor
    noise: Tensor


def level_of(schedule: Schedule, k: Tensor, like: Tensor) -> Level:
    """Signal and noise of landscapes k (B,), in the precision of a tensor."""
    signal, noise = schedule.signal[k, None], schedule.noise[k, None]
    return Level(signal.to(like.dtype), noise.to(like.dtype))


def distance(y: Tensor, proposal: Tensor, level: Level) -> Tensor:
    """‖y − √ᾱ_k h‖²/(2σ_k) (B,) of candidates y and proposals h (B, d_y)."""
    return (y - level.signal * proposal).square().sum(1) / (2 * level.noise[:, 0])


class ProposingEnergy(Energy):
    """An energy of a network's outputs o(x, y, k), in one of two forms.

    As published, E is a function of o that the network must bend into the bowl around √ᾱ_k y*: the
    gradient's error is divided by √ᾱ_k on the way to an answer, by .005 in the smoothest landscape,
    so a small one sends candidates anywhere. In the residual form the outputs are logits of an
    answer h, and E = ‖y − √ᾱ_k h‖²/(2σ_k): an error of h stays an error of its own size.

    A subclass gives `output`, `published` and `answer`, and a `level` in its context.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes : int
        As in `Energy`.
    residual : bool
        Which form.

    References
    ----------
    Salimans & Ho, "Should EBMs model the energy or the score?", 2021, for the residual form.
    """

    def __init__(
        self, condition_dim: int, solution_dim: int, landscapes: int, residual: bool
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        self.residual = residual
        self.schedule = Schedule(landscapes)

    @abstractmethod
    def output(self, context: Any, y: Tensor) -> Tensor:
        """Compute outputs o (B, d_y) of candidates y (B, d_y), entry by entry of an answer."""

    @abstractmethod
    def published(self, output: Tensor) -> Tensor:
        """Energies (B,) of outputs (B, d_y), as published."""

    @abstractmethod
    def answer(self, output: Tensor) -> Tensor:
        """Answers h (B, d_y) between −1 and 1, of outputs (B, d_y) as logits."""

    def evaluate(self, context: Any, y: Tensor) -> Tensor:
        """E (B,) of candidates y (B, d_y)."""
        output = self.output(context, y).to(y.dtype)  # under autocast, near energies stay apart
        if not self.residual:
            return self.published(output)
        return distance(y, self.answer(output), context.level)


def one_of(logits: Tensor) -> Tensor:
    """Mean of one-hot answers coded as ±1, over the last dimension, of logits."""
    return 2 * logits.softmax(-1) - 1

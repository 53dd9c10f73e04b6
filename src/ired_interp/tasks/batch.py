"""A batch of problems, and where it stands."""

from typing import NamedTuple

from torch import Tensor

from ired_interp.tasks.base import Variant


class Batch(NamedTuple):
    """Problems and where they stand.

    Attributes
    ----------
    x, y : Tensor (B, d_x), Tensor (B, d_y)
        Problems and answers.
    split : str
        "train", "validation", "test" or "probe".
    variant : str
        Their distribution.
    number : int
        Of the batch within the split.
    whole : int
        Rows of the batch, of which these are rows part, part + parts, …
    part, parts : int
        This rank, and how many there are.
    wrong : Tensor (B, d_y), optional
        Wrong answers that the task drew for training.
    """

    x: Tensor
    y: Tensor
    split: str
    variant: Variant
    number: int
    whole: int
    part: int = 0
    parts: int = 1
    wrong: Tensor | None = None

    def share(self, tensor: Tensor) -> Tensor:
        """Return this rank's rows of a tensor drawn for the whole batch."""
        return tensor[self.part :: self.parts]

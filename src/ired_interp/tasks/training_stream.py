"""The batches of one training run; on a GPU the next is drawn beside a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ired_interp.capture import capturable
from ired_interp.tasks.batch import Batch


class TrainingStream:
    """Batches 0, 1, 2, … of one training run, each drawn from its own number.

    Its position is saved with the run. Its length is the run's number of steps, so that one epoch
    is one run. On a GPU the next batch is drawn on a stream of its own while a step is made.

    Parameters
    ----------
    draw : callable
        The batch of a number.
    device : torch.device
        Where.
    length : int
        How many.
    """

    def __init__(self, draw: Callable[[int], Batch], device: torch.device, length: int) -> None:
        self._draw, self._device, self._length = draw, device, length
        self._ahead = capturable(device)
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: tuple[int, Batch] | None = None
        self._undrawn = False
        self.position = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch | int]:
        while self.position < self._length:
            index = self.position
            self.position += 1
            if self._undrawn:
                yield index
            else:
                yield self._begun(index) if self._ahead else self._draw(index)

    @contextmanager
    def undrawn(self) -> Iterator[None]:
        """Hand out the numbers of batches in place of them, within the block."""
        self._undrawn = True
        try:
            yield
        finally:
            self._undrawn = False

    def _begun(self, index: int) -> Batch:
        """Return a batch that was begun at the one before, and begin the next."""
        number, batch = self._next or (-1, None)
        if batch is None or number != index:
            batch = self._begin(index)
        if self._side is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_stream(self._side)
            for part in batch:
                if isinstance(part, Tensor):
                    part.record_stream(now)
        self._next = (index + 1, self._begin(index + 1)) if index + 1 < self._length else None
        return batch

    def _begin(self, index: int) -> Batch:
        with torch.cuda.stream(self._side):  # nothing where there is none
            return self._draw(index)

    def state_dict(self) -> dict[str, int]:
        """Return the number of the next batch, for a checkpoint."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from the batch of a checkpoint."""
        self.position = state["position"]

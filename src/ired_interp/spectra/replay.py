"""Functions of vectors, called at first and then replayed from one recording."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ired_interp.capture import Capture, Function, NotCapturedError, capturable

_CALLS = 1  # before the recording, which takes as long as two of them


class Replay:
    """A function of tensors that a GPU replays once it has been called a few times.

    Parameters
    ----------
    device : torch.device
        Of the tensors.

    Attributes
    ----------
    note : str
        How it is called, as the end of a sentence; empty where there is nothing to say.
    """

    def __init__(self, device: torch.device) -> None:
        self._calls = 0
        self._capture = Capture(device, warm_ups=1) if capturable(device) else None
        self.note = ""

    @property
    def records(self) -> bool:
        """Whether functions are recorded here, whose device works while Python goes on."""
        return self._capture is not None

    @property
    def recorded(self) -> bool:
        """Whether the function is replayed, so that the next call overwrites what this one gave."""
        return self._capture is not None and self._capture.recorded

    def beside(self) -> AbstractContextManager[None]:
        """Surround the building of what the function goes back through; see ``Capture.beside``."""
        return self._capture.beside() if self._capture else nullcontext()

    def __call__(
        self, function: Function, inputs: Sequence[Tensor] = (), replayable: bool = True
    ) -> tuple[Tensor, ...]:
        """Call a function, always the same one, or replay it.

        Parameters
        ----------
        function : callable
            Tensors to a tuple of tensors, as ``Capture`` asks for.
        inputs : sequence of Tensor
            Of the same shapes at every call.
        replayable : bool
            Whether it would go through the same memory again.

        Returns
        -------
        tuple of Tensor
            What the function gives; see ``recorded``.
        """
        self._calls += 1
        capture = self._capture
        if capture is None or not replayable or self._calls <= _CALLS:
            return function(*inputs)
        if not capture.recorded:
            try:
                capture.record(function, inputs)
            except NotCapturedError as error:
                self._capture, self.note = None, f"; not replayed as a CUDA graph: {error}"
                return function(*inputs)
            self.note = "; replayed as a CUDA graph"
        return capture(*inputs)

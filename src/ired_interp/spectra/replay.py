"""Products with a vector, called at first and then replayed from one recording."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ired_interp.capture import Capture, NotCapturedError, capturable

_CALLS = 4  # before the recording, which takes as long as a few of them


class Replay:
    """A function of a vector that a GPU replays once it has been called a few times.

    Parameters
    ----------
    device : torch.device
        Of the vectors.

    Attributes
    ----------
    note : str
        How it is called, as the end of a sentence; empty where there is nothing to say.
    """

    def __init__(self, device: torch.device) -> None:
        self._calls = 0
        self._capture = Capture(device) if capturable(device) else None
        self.note = ""

    def beside(self) -> AbstractContextManager[None]:
        """Surround the building of what the function goes back through; see ``Capture.beside``."""
        return self._capture.beside() if self._capture else nullcontext()

    def __call__(
        self, function: Callable[[Tensor], tuple[Tensor, Tensor]], v: Tensor, replayable: bool
    ) -> tuple[Tensor, Tensor]:
        """Call a function, always the same one, or replay it.

        Parameters
        ----------
        function : callable
            v (N,) to two tensors, as ``Capture`` asks for.
        v : Tensor
            (N,).
        replayable : bool
            Whether it would go through the same memory again.

        Returns
        -------
        Tensor, Tensor
            What the function gives; the first is the caller's own.
        """
        self._calls += 1
        capture = self._capture
        if capture is None or not replayable or self._calls <= _CALLS:
            return function(v)
        if not capture.recorded:
            try:
                capture.record(function, [v])
            except NotCapturedError as error:
                self._capture, self.note = None, f"; not replayed as a CUDA graph: {error}"
                return function(v)
            self.note = "; replayed as a CUDA graph"
        first, second = capture(v)
        return first.clone(), second

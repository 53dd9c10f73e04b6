"""A function of tensors of constant shapes, recorded once as a CUDA graph and then replayed."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]


class NotCapturedError(RuntimeError):
    """A function that cannot be recorded, and why."""


def capturable(device: torch.device) -> bool:
    """Whether functions can be recorded on a device."""
    return device.type == "cuda"


class Capture:
    """A function of tensors that is replayed from its recording.

    A replay launches all kernels of the function at once. It reads the same memory and does the
    same sums as a call, so the function must not depend on anything but the values of tensors that
    stay where they are, and must not wait for the device. Where there is no GPU, a replay is a
    call.

    Parameters
    ----------
    device : torch.device
        Where.
    warm_ups : int
        Calls before the recording; the last shows whether anything waits for the device. Two where
        the first compiles or makes state.
    """

    def __init__(self, device: torch.device, warm_ups: int = 2) -> None:
        self._device, self._warm_ups = device, warm_ups
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._inputs: list[Tensor] = []
        self._outputs: tuple[Tensor, ...] = ()
        self._replay: Callable[[], object] | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a recording."""
        return self._replay is not None

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run a block on the stream of the recording, after what was issued before.

        What is issued later waits for it. Backward passes run on the stream of their forward pass:
        a graph of autograd that a function goes back through must be built in here.
        """
        if self.stream is None:
            yield
            return
        current = torch.cuda.current_stream(self._device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(
        self,
        function: Function,
        inputs: Sequence[Tensor] = (),
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Record a function.

        Parameters
        ----------
        function : callable
            Tensors to a tuple of tensors; it is called once more than for warming up.
        inputs : sequence of Tensor
            Of the shapes of all later ones.
        generators : sequence of torch.Generator
            That it draws from; a replay draws from where they then stand.

        Raises
        ------
        NotCapturedError
            If it cannot be recorded; it was called all the same.
        """
        self._inputs = [tensor.detach().clone() for tensor in inputs]
        try:
            for call in range(self._warm_ups):
                with self.beside(), _no_waiting(self._device, call + 1 == self._warm_ups):
                    self._outputs = tuple(t.detach() for t in function(*self._inputs))
            if self.stream is None:
                self._replay = partial(self._call, function)
            else:
                self._capture(function, self.stream, generators)
        except RuntimeError as error:
            self._inputs, self._outputs = [], ()
            raise NotCapturedError(str(error).partition("\n")[0]) from error

    def _capture(
        self, function: Function, stream: torch.cuda.Stream, generators: Sequence[torch.Generator]
    ) -> None:
        current, graph = torch.cuda.current_stream(self._device), torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize(self._device)
        try:
            # Not by torch.cuda.graph, which first gives all memory back that PyTorch holds ready.
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._outputs = tuple(t.detach() for t in function(*self._inputs))
                finally:
                    graph.capture_end()
            self._replay = graph.replay
        except RuntimeError:
            torch.cuda.set_stream(current)  # which a recording that breaks off leaves changed
            raise
        finally:
            # A recording begins by writing the generators' seeds on its own stream, to memory that
            # is free again with the recording: what is put there must wait for that.
            current.wait_stream(stream)

    def _call(self, function: Function) -> None:
        for mine, found in zip(self._outputs, function(*self._inputs), strict=True):
            mine.copy_(found.detach())

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Replay the function; the next replay overwrites what it returns."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        assert self._replay is not None, "record comes first"
        self._replay()
        return self._outputs


@contextmanager
def _no_waiting(device: torch.device, refused: bool) -> Iterator[None]:
    """Let operations that wait for the device raise, which break a recording off."""
    if device.type != "cuda" or not refused:
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode sees most of them, not all
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)

"""Requests to stop: SIGINT (Ctrl-C) and SIGTERM are noted, and heeded where nothing is lost."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ired_interp.errors import Interrupted
from ired_interp.terminal import is_rank_zero

# Seconds in which a repeated signal counts once: launchers send it to a process and to its group.
_ONE_REQUEST = 1.0


class _Request:
    def __init__(self) -> None:
        self.number: int | None = None
        self.time = 0.0
        self.at_once = False
        self.again: Callable[[int], None] | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self.time = number, time.monotonic()
            _write_line("stop requested: saving; once more to stop at once")
            if self.at_once:
                raise Interrupted(number)
        elif time.monotonic() - self.time > _ONE_REQUEST:
            if self.again is not None:
                self.again(number)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _write_line(line: str) -> None:
    """Write to standard error, but not by print, which cannot be entered again from a handler.

    To nobody, if Ctrl-C ended the reader, too.
    """
    if is_rank_zero():
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())


_request = _Request()


def requested() -> int | None:
    """Return the signal that asked this process to stop, if one did."""
    return _request.number


@contextmanager
def defer_signals(again: Callable[[int], None] | None = None) -> Iterator[None]:
    """Note the first signal, which raises only within `interruptible`; a later one ends all.

    Parameters
    ----------
    again : callable, optional
        What is to be done with a later signal before it ends this process.
    """
    previous = {
        number: signal.signal(number, _request.receive)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    _request.again = again
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _request.number = _request.again = None


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted at once at a signal, also at one noted before.

    For work that can be killed at any moment.
    """
    with _set(at_once=True):
        yield


@contextmanager
def uninterruptible() -> Iterator[Callable[[], int | None]]:
    """Shield a part of `interruptible` from signals: Interrupted is raised at its end.

    Yields what tells the signal's number, if one came.
    """
    if not _request.at_once:
        yield lambda: None
        return
    with _set(at_once=False):
        yield requested


@contextmanager
def _set(at_once: bool) -> Iterator[None]:
    before, _request.at_once = _request.at_once, at_once
    try:
        _raise_if_due()
        yield
    finally:
        _request.at_once = before
    _raise_if_due()


def _raise_if_due() -> None:
    if _request.at_once and _request.number is not None:
        raise Interrupted(_request.number)

"""One process at a time trains a run, whoever started it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ired_interp.errors import InputError
from ired_interp.files import take_lock
from ired_interp.results.run import Run
from ired_interp.results.state import process, state

_PAUSE = 0.5  # seconds between two looks


@contextmanager
def only_writer(run: Run, patience: float = 0.0) -> Iterator[None]:
    """Hold a run for the duration of the block; the lock ends with the process, however it ends.

    On a file system without locks a process of this machine that trains the run is noticed, one of
    another machine is not.

    Parameters
    ----------
    run : Run
        The run.
    patience : float
        Seconds to wait for the process that holds it, as for one that is about to end.

    Raises
    ------
    InputError
        If another process holds the run, or its folder cannot be written.
    """
    try:
        file = run.config.open("r+b")
    except OSError as error:
        if run.config.exists():
            raise InputError(
                f"run {run.path} cannot be written ({error.strerror}); go on with one of your own."
            ) from None
        yield
        return
    with file:
        end = time.monotonic() + patience
        while _held(file, run):
            if time.monotonic() > end:
                raise InputError(
                    f"{process(run)} trains {run.path} already; wait for it, or stop it first: two "
                    "would write over each other."
                )
            time.sleep(_PAUSE)
        yield


def _held(file: IO[bytes], run: Run) -> bool:
    """Whether another process has the lock; else this one has it now."""
    try:
        return not take_lock(file)
    except OSError:
        return state(run) == "running"

"""One process at a time trains a run, whoever started it."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from ired_interp.errors import InputError
from ired_interp.results.run import Run
from ired_interp.results.state import process, state

_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def only_writer(run: Run) -> Iterator[None]:
    """Hold a run for the duration of the block; the lock ends with the process, however it ends.

    On a file system without locks a process of this machine that trains the run is noticed, one of
    another machine is not.

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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = False
        except OSError as error:
            held = error.errno in _HELD or state(run) == "running"
        if held:
            raise InputError(
                f"{process(run)} trains {run.path} already; wait for it, or stop it first: two "
                "would write over each other."
            )
        yield

"""Work that one rank does while the others wait."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist

from ired_interp.errors import Interrupted
from ired_interp.stopping import interruptible

_FOR_EVER = timedelta(days=365)
_LOOK_SECONDS = 0.05


def on_first_rank(work: Callable[[], None]) -> None:
    """Do work on rank 0 while the others wait, however long it takes; all have to call this.

    They do not wait inside a collective of training, whose time limit would end the run. A rank
    that dies meanwhile ends the others.

    Parameters
    ----------
    work : callable
        What rank 0 does.

    Raises
    ------
    Interrupted
        On all ranks, if a signal ended the work.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        with interruptible():
            work()
        return
    group = _waiting_group()
    stopped = torch.tensor(0)
    if dist.get_rank() == 0:
        try:
            with interruptible():
                work()
        except Interrupted as stop:
            stopped += stop.number
    agreement = dist.all_reduce(stopped, group=group, async_op=True)
    while not agreement.is_completed():  # a signal is noticed here, but not inside wait()
        time.sleep(_LOOK_SECONDS)
    agreement.wait()  # raises what went wrong
    if stopped:
        raise Interrupted(int(stopped))


@cache
def _waiting_group() -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_FOR_EVER)
    return group

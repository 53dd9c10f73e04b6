"""The processes that one command was started as, by srun or torchrun."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ired_interp.errors import InputError, RunError

Value = TypeVar("Value")

_RENDEZVOUS_TIMEOUT = timedelta(minutes=10)  # for all tasks of a job step to start
# For a rank to be waited for: the first may measure alone for as long as a job lasts. It guards
# against nothing, since a rank that ends closes its connections, which the others notice at once.
_COLLECTIVE_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """A process among the `count` of one command; alone by default.

    Attributes
    ----------
    rank : int
        Its number, 0 for the one that prints and writes.
    local : int
        Its number among those on the same host.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """Return this rank's rows of `total`: contiguous, in the order of ranks.

        Where they do not divide evenly, the first ranks have one more.
        """
        size, more = divmod(total, self.count)
        start = self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))

    def all_gather_object(self, value: Value) -> list[Value]:
        """Gather what each rank gave, in the order of ranks; waits for all of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def gather(self, part: np.ndarray) -> np.ndarray:
        """Join the parts of all ranks along the first axis."""
        return np.concatenate(self.all_gather_object(part))

    def group(self, device: torch.device) -> dist.ProcessGroup | None:
        """Return the process group for tensors on a device; None for a process alone."""
        if self.count == 1:
            return None
        return dist.group.WORLD if device.type == "cpu" else _nccl()

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """End all ranks by an error that one of them meets in the block.

        The block must not wait for other ranks.
        """
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        faults = self.all_gather_object(
            None if error is None else (isinstance(error, InputError), str(error))
        )
        if error is not None:
            raise error
        for rank, fault in enumerate(faults):
            if fault is not None:
                raise (InputError if fault[0] else RunError)(
                    f"task {rank} of {self.count}: {fault[1]}"
                )


ALONE = Ranks()


@cache
def _nccl() -> dist.ProcessGroup:
    """Return the group for products, to which all ranks come at about the same time.

    NCCL's own timeout holds, as it does not notice a rank that ended.
    """
    group: dist.ProcessGroup = dist.new_group(backend="nccl")
    return group


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Meet the other processes of this command, if there are any, for the duration of the block.

    Outside a job step of several tasks (srun) and of torchrun, or in an interactive job (named bash
    or interactive), a process is alone.

    An InputError or RunError that leaves the block must be met by all ranks alike, and only the
    first one says it; after any other error the process ends, and with it the others.

    Raises
    ------
    InputError
        If SLURM did not say how many tasks a node has.
    RunError
        If the processes do not meet, or one of them ends early.
    SystemExit
        On ranks after the first, where all met the same InputError or RunError.
    RuntimeError
        If the block raised one that has nothing to do with other ranks.
    """
    environment = _environment()
    if environment is None:
        yield ALONE
        return
    ranks = Ranks(environment.global_rank(), environment.world_size(), environment.local_rank())
    # Asking for them also sets MASTER_ADDR and MASTER_PORT.
    place = f"{environment.main_address}:{environment.main_port}"
    try:
        store = next(
            iter(rendezvous("env://", ranks.rank, ranks.count, timeout=_RENDEZVOUS_TIMEOUT))
        )[0]
        store.set_timeout(_COLLECTIVE_TIMEOUT)
        dist.init_process_group(
            "gloo",
            store=store,
            rank=ranks.rank,
            world_size=ranks.count,
            timeout=_COLLECTIVE_TIMEOUT,
        )
    except RuntimeError as error:
        raise RunError(
            f"task {ranks.rank} of {ranks.count} did not meet the others at {place} ({error}); see "
            "whether they started, or set "
            "MASTER_PORT to a free port."
        ) from None
    agreed = False
    try:
        with warnings.catch_warnings():
            if not ranks.first:
                warnings.simplefilter("ignore")
            yield ranks
        agreed = True
    except (InputError, RunError) as error:
        agreed = True
        if not ranks.first:
            raise SystemExit(2 if isinstance(error, InputError) else 1) from error
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            f"task {ranks.rank} of {ranks.count} lost another one, whose own message says why "
            f"({error})."
        ) from error
    finally:
        if agreed or not _nccl.cache_info().currsize:  # NCCL would wait for all ranks
            dist.destroy_process_group()


def _environment() -> Any:
    """Lightning's view of what started this process as one of several; None where nothing did.

    Raises
    ------
    InputError
        If SLURM did not say how many tasks a node has.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        if int(os.environ["WORLD_SIZE"]) == 1:
            return None
        from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        return TorchElasticEnvironment()
    # A batch script sees SLURM_NTASKS, too, but is no step: what it runs without srun is alone.
    if "SLURM_STEP_ID" not in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) == 1:
        return None
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    try:
        return SLURMEnvironment() if SLURMEnvironment.detect() else None
    except RuntimeError:  # Lightning trusts only the number of tasks per node
        raise InputError(
            f"SLURM started {os.environ['SLURM_NTASKS']} tasks by --ntasks; ask for them by "
            "--ntasks-per-node instead."
        ) from None

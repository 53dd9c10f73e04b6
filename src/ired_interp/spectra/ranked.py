"""Operators whose products are summed over the ranks of a process group."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.random import stream
from ired_interp.spectra.operator import SymmetricOperator, Value
from ired_interp.spectra.plan import available_memory


class RankedOperator(SymmetricOperator):
    """A symmetric matrix of which each rank multiplies by its own share.

    Parameters
    ----------
    size, dtype, device
        As of ``SymmetricOperator``.
    group : torch.distributed.ProcessGroup, optional
        The ranks; one process where not given.
    """

    def __init__(
        self,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(size, dtype, device)
        self.group = group

    def _sum(self, tensor: Tensor) -> Tensor:
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def source(self, seed: int, *names: int | str) -> torch.Generator:
        """Make a generator of random vectors; on the CPU where ranks may have unlike GPUs."""
        return stream(self.device if self.group is None else "cpu", seed, *names)

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is true on any rank of the group."""
        if self.group is None:
            return flag
        return bool(self._sum(torch.tensor([float(flag)], device=self.device)).item() > 0)

    def first_of_ranks(self, fault: str | None) -> str | None:
        """Tell every rank the fault of the first one that has any."""
        if self.group is None:
            return fault
        faults: list[str | None] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(faults, fault, self.group)
        return next(filter(None, faults), None)

    def expect_no_fault(self, find: Callable[[], str | None]) -> None:
        """Raise on every rank what any of them finds.

        Raises
        ------
        InputError
            As it is raised in finding, in one process.
        RunError
            If anything is found.
        """
        try:
            fault = find()
        except (InputError, RunError) as error:
            if self.group is None:
                raise
            fault = str(error)
        if fault := self.first_of_ranks(fault):
            raise RunError(fault)

    def is_rank_zero(self) -> bool:
        """Whether this is the first rank of the group."""
        return self.group is None or dist.get_rank(self.group) == 0

    def broadcast(self, value: Value) -> Value:
        """Send the first rank's value to all of the group."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.group, device=self.device, group_src=0)
        return box[0]

    def available_memory(self, device: torch.device) -> int:
        """Bytes that every rank of the group can take on a device."""
        found = available_memory(device)
        if self.group is None:
            return found
        if device.type == "cpu":  # which the ranks may have in common
            found //= dist.get_world_size(self.group)
        least = torch.tensor([found], device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN, self.group)
        return int(least.item())

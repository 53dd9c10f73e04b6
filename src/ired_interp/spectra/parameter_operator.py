"""Operators on vectors that are the entries of some tensors, one after the other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from ired_interp.spectra.heap import keep_freed_memory
from ired_interp.spectra.parameters import vector_dtype
from ired_interp.spectra.ranked import RankedOperator
from ired_interp.spectra.vectors import coarsest


class ParameterOperator(RankedOperator):
    """A symmetric matrix whose rows and columns are the entries of parameters.

    Parameters
    ----------
    named : dict of str to Tensor
        The parameters, N entries in all.
    group : torch.distributed.ProcessGroup, optional
        As in ``RankedOperator``.
    dtype : torch.dtype, optional
        Of vectors; see ``HessianOperator``.
    """

    def __init__(
        self,
        named: dict[str, Tensor],
        group: dist.ProcessGroup | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.named, self.parameters = named, list(named.values())
        size = sum(p.numel() for p in self.parameters)
        kind = vector_dtype(self.parameters, dtype)
        super().__init__(size, kind, self.parameters[0].device, group)
        self.precision = coarsest([kind, *(p.dtype for p in self.parameters)])
        keep_freed_memory(self.device)

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters (their gradients, say) to one vector.

        Parameters
        ----------
        parts : iterable of Tensor
            One for each parameter.

        Returns
        -------
        Tensor
            (N,).
        """
        return torch.cat([part.detach().reshape(-1).to(self.dtype) for part in parts])

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """Cut a vector into pieces shaped like the parameters.

        Parameters
        ----------
        v : Tensor
            (N,).

        Returns
        -------
        dict
            Parameter name → its piece, a view where the parameter has the vector's dtype.
        """
        sizes = [p.numel() for p in self.parameters]
        return {
            n: part.view(p.shape).to(p.dtype)
            for (n, p), part in zip(self.named.items(), v.split(sizes), strict=True)
        }

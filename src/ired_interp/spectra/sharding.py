"""Tensors that are spread over ranks (DTensors, as ``fully_shard`` makes parameters)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over ranks.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    bool
        False for one that this process has whole.
    """
    return type(tensor).__name__ == "DTensor"


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor on every rank.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    Tensor
        Itself where it is not sharded.
    """
    return cast(Any, tensor).full_tensor() if is_sharded(tensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Take the part of a tensor that this process has.

    Parameters
    ----------
    tensor : Tensor
        Any.

    Returns
    -------
    Tensor
        Itself where it is not sharded.
    """
    return cast(Any, tensor).to_local() if is_sharded(tensor) else tensor


def placed_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Shard a tensor that every rank has whole as a parameter is.

    Parameters
    ----------
    parameter : Tensor
        Any.
    tensor : Tensor
        Of its shape.

    Returns
    -------
    Tensor
        Itself where the parameter is not sharded.
    """
    if not is_sharded(parameter):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    place = cast(Any, parameter)
    return distribute_tensor(tensor, place.device_mesh, place.placements, src_data_rank=None)

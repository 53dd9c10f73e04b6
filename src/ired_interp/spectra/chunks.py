"""Batches of data, which are tensors or tuples, lists and dicts of them, cut by rows."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ired_interp.errors import InputError


def row_count(chunk: Any) -> int:
    """Count the rows, the common length of the first dimension.

    Parameters
    ----------
    chunk : Tensor, or tuple, list or dict of tensors
        A batch or a part of one.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    InputError
        If its tensors have different numbers of rows, or it has none.
    """
    parts = (
        chunk.values()
        if isinstance(chunk, Mapping)
        else chunk
        if isinstance(chunk, list | tuple)
        else [chunk]
    )
    lengths = {len(part) for part in parts if isinstance(part, Tensor) and part.ndim}
    if len(lengths) != 1:
        raise InputError(
            f"a chunk of data has tensors of {sorted(lengths)} rows; expected one common number of "
            "rows"
        )
    return lengths.pop()


def slice_rows(chunk: Any, start: int, stop: int) -> Any:
    """Rows start … stop of a batch.

    Parameters
    ----------
    chunk : Tensor, or tuple, list or dict of tensors
        The batch.
    start, stop : int
        As in a slice.

    Returns
    -------
    Tensor, tuple, list or dict
        Of the same structure; what is no tensor with rows stays as it is.
    """
    if isinstance(chunk, Mapping):
        return {key: slice_rows(value, start, stop) for key, value in chunk.items()}
    if isinstance(chunk, tuple | list):
        parts = [slice_rows(value, start, stop) for value in chunk]
        return type(chunk)(*parts) if hasattr(chunk, "_fields") else type(chunk)(parts)
    return chunk[start:stop] if isinstance(chunk, Tensor) and chunk.ndim else chunk

"""Operations of an objective, taken by twins of shorter second derivatives."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ired_interp.spectra.bilinear import Bilinear, Convolution, Linear
from ired_interp.spectra.elementwise import GELU, SILU, ReLU, Smooth
from ired_interp.spectra.normalization import GroupNorm, Standardized

Function = TypeVar("Function", bound=Callable[..., Any])

_KINDS = (Tensor, nn.Parameter)
_DTYPES = (torch.float32, torch.float64)
_LOCK = threading.Lock()
_users = 0  # of the twins now; the last one puts the functions back


@contextmanager
def short_derivatives() -> Iterator[None]:
    """Let convolutions, linear layers, norms, ReLU, GELU and SiLU have short second derivatives.

    Only plain tensors in float32 or float64 are taken, outside ``torch.func``, forward mode and
    autocast; all others are as they were. The functions are replaced where layers look them up, for
    all threads: checkpointing rebuilds parts of a graph in those of the backward pass.

    Yields
    ------
    None
        While they have.
    """
    global _users
    with _LOCK:
        _users += 1
        if _users == 1:
            for place, name, twin in _TWINS:
                setattr(place, name, _either(getattr(place, name), twin))
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                for place, name, _ in _TWINS:
                    setattr(place, name, getattr(place, name).__wrapped__)


def with_twin(twin: Callable[..., Any]) -> Callable[[Function], Function]:
    """Give a function a twin that is called in its place while ``short_derivatives`` holds.

    Parameters
    ----------
    twin : callable
        Of the same arguments, the same value.

    Returns
    -------
    callable
        A decorator.
    """

    def decorated(function: Function) -> Function:
        either = _either(function, twin)

        @wraps(function)
        def chosen(*args: Any, **kwargs: Any) -> Any:
            return either(*args, **kwargs) if _users else function(*args, **kwargs)

        return cast("Function", chosen)

    return decorated


def _either(function: Callable[..., Any], twin: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if _is_plain([*args, *kwargs.values()]):
            result = twin(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return function(*args, **kwargs)

    return either


def _is_plain(arguments: Sequence[Any]) -> bool:
    tensors = [t for t in arguments if isinstance(t, Tensor)]
    return (
        torch.is_grad_enabled()
        and any(t.requires_grad for t in tensors)
        and all(type(t) in _KINDS and t.dtype in _DTYPES for t in tensors)
        and all(t.layout == torch.strided for t in tensors)
        and len({t.dtype for t in tensors}) == 1
        and not torch.is_autocast_enabled(tensors[0].device.type)
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


def _convolution(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Any:
    if isinstance(padding, str) or x.ndim != w.ndim:
        return NotImplemented
    n = w.ndim - 2
    sizes = [[s] * n if isinstance(s, int) else [*s] for s in (stride, padding, dilation)]
    sizes = [s * n if len(s) == 1 else s for s in sizes]
    return Bilinear.of(x, w, bias, Convolution(*sizes, False, [0] * n, groups))


def _linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Any:
    if x.ndim < 2 or w.ndim != 2:
        return NotImplemented
    y = Bilinear.of(x.reshape(-1, x.shape[-1]), w, bias, Linear())
    return y.view(*x.shape[:-1], w.shape[0])


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if weight is None or bias is None or not x.numel():
        return NotImplemented
    return GroupNorm.of(x.contiguous(), weight, bias, num_groups, eps)


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if not x.numel() or tuple(x.shape[-len(normalized_shape) :]) != tuple(normalized_shape):
        return NotImplemented
    z, _ = Standardized.of(x.reshape(-1, math.prod(normalized_shape)), eps)
    z = z.view(x.shape)
    if weight is not None and bias is not None:
        return torch.addcmul(bias, z, weight)
    z = z if weight is None else z * weight
    return z if bias is None else z + bias


def _relu(x: Tensor, inplace: bool = False) -> Any:
    return NotImplemented if inplace else ReLU.of(x)


def _gelu(x: Tensor, approximate: str = "none") -> Any:
    return Smooth.of(x, GELU) if approximate == "none" else NotImplemented


def _silu(x: Tensor, inplace: bool = False) -> Any:
    return NotImplemented if inplace else Smooth.of(x, SILU)


_TWINS: list[tuple[Any, str, Callable[..., Any]]] = [
    *((place, f"conv{n}d", _convolution) for place in (torch, F) for n in (1, 2, 3)),
    (F, "linear", _linear),
    (F, "group_norm", _group_norm),
    (F, "layer_norm", _layer_norm),
    *((place, "relu", _relu) for place in (torch, F)),
    (F, "gelu", _gelu),
    (F, "silu", _silu),
]

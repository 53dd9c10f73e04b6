"""What to differentiate in, by name."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ired_interp.errors import InputError
from ired_interp.spectra.causes import DIFFERENCES
from ired_interp.spectra.sharding import is_sharded

Parameters = nn.Module | Tensor | Mapping[str, Tensor] | Iterable[Tensor]


def named_tensors(parameters: Parameters, *, sharded: bool = False) -> dict[str, Tensor]:
    """Name what to differentiate in.

    Parameters
    ----------
    parameters : Module, Tensor, mapping of names to tensors, or iterable of tensors
        A module gives its trainable parameters; tensors without a name are numbered. One that comes
        under several names (tied weights) counts once, under the first.
    sharded : bool
        Whether they may be DTensors.

    Returns
    -------
    dict
        Name → tensor, all on one device.

    Raises
    ------
    InputError
        If there is none, one has no real numbers that can be differentiated in (complex, meta,
        sharded, sparse, without gradient), or they are on several devices.
    """
    named: dict[str, Tensor]
    if isinstance(parameters, nn.Module):
        named = {name: p for name, p in parameters.named_parameters() if p.requires_grad}
    elif isinstance(parameters, Tensor):
        named = {"0": parameters}
    elif isinstance(parameters, Mapping):
        named = dict(parameters)
    else:
        named = {str(i): p for i, p in enumerate(parameters)}
    if not named:
        raise InputError(
            "no parameter to differentiate in; give a module with trainable parameters or some "
            "tensors"
        )
    for name, p in named.items():
        if fault := _fault(p, sharded):
            raise InputError(f"parameter {name} {fault}")
    devices = {str(p.device) for p in named.values()}
    if len(devices) > 1:
        raise InputError(f"parameters on {', '.join(sorted(devices))}; expected one device")
    first = {id(p): name for name, p in reversed(named.items())}
    return {name: p for name, p in named.items() if first[id(p)] == name}


def _fault(p: object, sharded: bool) -> str | None:
    """Say what keeps one parameter from being differentiated in, and what to do."""
    if not isinstance(p, Tensor):
        return f"is a {type(p).__name__}; expected a tensor"
    if is_lazy(p):
        return "has no shape yet; run the module once on a batch first"
    if not p.requires_grad:
        return "does not require gradients; call .requires_grad_() on it or leave it out"
    if p.is_meta:
        return "is on the meta device and holds no numbers; load the weights first"
    if p.is_complex():
        return (
            "is complex, and its Hessian has no one meaning; make the real and imaginary parts the "
            "parameter (torch.view_as_real) and join them in the model (torch.view_as_complex)"
        )
    if is_sharded(p) and not sharded:
        return f"is sharded (DTensor); take {DIFFERENCES}, or gather the weights on every rank"
    if p.layout != torch.strided:
        return f"is {p.layout}; make it dense (.to_dense())"
    return None


def vector_dtype(parameters: list[Tensor], dtype: torch.dtype | None) -> torch.dtype:
    """Choose the dtype of vectors: float32 or float64, whatever the parameters are.

    Parameters
    ----------
    parameters : list of Tensor
        Whose vectors they are.
    dtype : torch.dtype, optional
        What is asked for.

    Returns
    -------
    torch.dtype
        It; else float64 if a parameter has that, else float32.

    Raises
    ------
    InputError
        If another one is asked for.
    """
    if dtype is not None:
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype is {dtype}; expected torch.float32 or torch.float64")
        return dtype
    wide = any(p.dtype == torch.float64 for p in parameters)
    return torch.float64 if wide else torch.float32

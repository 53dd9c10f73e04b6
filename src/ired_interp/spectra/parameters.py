"""What to differentiate in, by name."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from ired_interp.errors import InputError

Parameters = nn.Module | Tensor | Mapping[str, Tensor] | Iterable[Tensor]


def named_tensors(parameters: Parameters) -> dict[str, Tensor]:
    """Name what to differentiate in.

    Parameters
    ----------
    parameters : Module, Tensor, mapping of names to tensors, or iterable of tensors
        A module gives its trainable parameters; tensors without a name are numbered.

    Returns
    -------
    dict
        Name → tensor, all of one dtype on one device.

    Raises
    ------
    InputError
        If there is none, one needs no gradient or is sharded, or they are of several kinds.
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
        if not isinstance(p, Tensor):
            raise InputError(f"parameter {name} is a {type(p).__name__}; expected a tensor")
        if not p.requires_grad:
            raise InputError(
                f"parameter {name} does not require gradients; call .requires_grad_() on it or "
                "leave it out"
            )
        if type(p).__name__ == "DTensor":
            raise InputError(
                f"parameter {name} is sharded (DTensor); gather the weights on every rank first"
            )
    kinds = {(p.dtype, p.device) for p in named.values()}
    if len(kinds) > 1:
        raise InputError(
            f"parameters of several kinds {sorted(map(str, kinds))}; expected one dtype on one "
            "device"
        )
    return named

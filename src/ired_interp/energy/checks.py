"""Checks of what networks are made of and given, each of one sentence."""

from torch import Tensor, nn

from ired_interp.errors import InputError


def check_tensor(name: str, value: object, module: nn.Module) -> None:
    """Refuse what is no tensor, or of another type or on another device than a module's weights.

    Parameters
    ----------
    name : str
        What the value is called.
    value : object
        To be given to the module.
    module : nn.Module
        Any.

    Raises
    ------
    InputError
        If it does not fit.
    """
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name} is a {type(value).__module__}.{type(value).__name__}; expected a tensor, as "
            "torch.as_tensor makes one."
        )
    weight = next(module.parameters(), value)
    for found, needed in ((value.dtype, weight.dtype), (value.device, weight.device)):
        if found != needed:
            raise InputError(
                f"{name} is {found}, but the model's weights are {needed}; convert {name} by its "
                "method `to`."
            )


def check_sizes(owner: str, **sizes: int) -> None:
    """Refuse sizes of a network that are not positive.

    Parameters
    ----------
    owner : str
        Whose they are.
    sizes : int
        Each under its name.

    Raises
    ------
    InputError
        If there is one.
    """
    for name, value in sizes.items():
        if value < 1:
            raise InputError(f"{owner} got {name}={value}; it must be at least 1.")

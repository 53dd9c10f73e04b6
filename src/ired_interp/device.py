"""The device that a name means, once it is seen to work."""

import torch

from ired_interp.errors import InputError, one_line


def usable_device(name: torch.device | str) -> torch.device:
    """Return a device on which tensors can be made.

    Parameters
    ----------
    name : torch.device or str
        As PyTorch names devices: "cpu", "cuda", "cuda:1".

    Raises
    ------
    InputError
        If there is none of the name, or it does not work.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = one_line(str(error), 160).rstrip(".")
        raise InputError(f"device {name} cannot be used ({reason}); choose cpu or cuda.") from None
    if device.type == "meta":
        raise InputError("device meta holds no numbers; choose cpu or cuda.")
    return device

"""The device that a name means, once it is seen to work."""

import os

import torch

from ired_interp.errors import InputError, RunError, one_line

GPUS_GIVEN = "SLURM_GPUS_ON_NODE"  # to a job, whichever option asked for them


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


def automatic_device() -> str:
    """Choose cuda where PyTorch sees a GPU, else cpu.

    Raises
    ------
    RunError
        If a job was given GPUs and PyTorch sees none of them: it would go on a hundred times slower
        than was meant.
    """
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get(GPUS_GIVEN, "0") == "0":
        return "cpu"
    try:
        usable_device("cuda")
        reason = ""
    except InputError as error:
        reason = str(error).partition(" (")[2].rpartition(")")[0]
    raise RunError(
        f"the job was given {os.environ[GPUS_GIVEN]} GPU(s) of this node, but PyTorch "
        f"{torch.__version__} sees none ({reason}); load the CUDA module or use an environment "
        "that fits the node's driver, or ask for the CPU (trainer.accelerator: cpu; of a probe, "
        "--device cpu)."
    )

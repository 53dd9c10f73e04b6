"""What `ired submit --try-node` looks at on a node, from within the job's environment."""

import contextlib
import io
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ired_interp.cluster.preflight import Check
from ired_interp.cluster.trial import done, line
from ired_interp.errors import InputError, RunError, one_line, underlying

_BYTES = 2**20  # written to see that there is space and quota


def check_here(folder: str, scratch: str, arguments: list[str]) -> int:
    """Print a line for each thing that a job needs on its node.

    Parameters
    ----------
    folder : str
        Where runs/ and jobs/ lie.
    scratch : str
        Of sources and environments.
    arguments : list[str]
        Of the job's command.
    """
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    for check in _checks(node, folder, scratch, arguments):
        print(line(check), flush=True)
    print(done(node), flush=True)
    return 0


def _checks(node: str, folder: str, scratch: str, arguments: list[str]) -> Iterator[Check]:
    for name, place in (("folder", f"{folder}/runs"), ("scratch", scratch)):
        yield _made(
            name,
            lambda place=place: _written(node, Path(place)),  # type: ignore[misc]
            f"set {name} in the profile to one that can be written from the nodes",
        )
    yield _made(
        "environment",
        lambda: _imported(node, arguments),
        "add what is missing to the lock file, or to the profile's environment",
    )
    yield _made(
        "gpu",
        lambda: _gpus(node),
        "load the CUDA module, or use an environment whose PyTorch fits the node's driver",
    )


def _made(name: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, True, look())
    except (Exception, SystemExit) as error:
        return Check(name, False, one_line(str(underlying(error)), 300), remedy)


def _written(node: str, place: Path) -> str:
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place, prefix=".ired-") as file:
        file.write(bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())
    free = shutil.disk_usage(place).free / 2**30
    return f"{node} can write to {place}, {free:.0f} GiB are free"


def _imported(node: str, arguments: list[str]) -> str:
    """Import the commands with all that they need, and the modules that a configuration names."""
    import torch

    import ired_interp
    from ired_interp.commands import evaluate, fit, probe  # noqa: F401  (whatever the job runs)

    if arguments[0] == "fit" and "--resume" not in arguments:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            fit.main("fit", [*arguments[1:], "--print_config"])
    return (
        f"{node} imports {Path(ired_interp.__file__).parent}, with PyTorch {torch.__version__} on "
        f"Python {platform.python_version()}"
    )


def _gpus(node: str) -> str:
    """Compute on every GPU that SLURM gave.

    Raises
    ------
    RunError
        If PyTorch does not see one, or it does not work.
    """
    import torch

    from ired_interp.device import GPUS_GIVEN, usable_device

    given = int(os.environ.get(GPUS_GIVEN, "0"))
    if not given:
        return "none was asked for"
    seen = torch.cuda.device_count()
    for index in range(given):
        try:
            device = usable_device(f"cuda:{index}")
            torch.ones(8, device=device).sum().item()
        except (InputError, RuntimeError) as error:
            raise RunError(
                f"PyTorch {torch.__version__} sees {seen} of the {given} GPUs that {node} gives "
                f"the job: {error}"
            ) from None
    return f"PyTorch computes on {given} × {torch.cuda.get_device_name(0)} of {node}"

"""What all tests share: one thread, small models, and the program run in this process."""

import os
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ired_interp.cli import main
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.module import IREDModule
from ired_interp.probes import Probe
from ired_interp.report import Drawing
from ired_interp.solver import SolverModule
from ired_interp.tasks import Inverse, Task, TaskData

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the cluster; whatever else lies beside it starts other processes."""
    for item in items:
        if "_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("slurm")
        elif item.path.parent.name == "slurm":
            item.add_marker("process")


def alone(patch: pytest.MonkeyPatch) -> None:
    """One thread, in no job."""
    torch.set_num_threads(1)
    for name in list(os.environ):
        if name.startswith(("SLURM_", "IRED_")):
            patch.delenv(name)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test defines is known by name in that test alone."""
    for contract in (Drawing, Energy, Probe, SolverModule, Task):
        monkeypatch.setattr(contract, "registry", dict(contract.registry))


def reference_weights(module: torch.nn.Module, gain: float = 1.0) -> None:
    """Fill a module with the weights that the reference numbers were computed with (tests/data/README.md)."""
    for name, parameter in module.named_parameters():
        shape = tuple(parameter.shape)
        draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        scale = 0.1 if name.endswith(".bias") else gain / np.sqrt(np.prod(shape[1:]))
        parameter.data = torch.from_numpy((scale * draw).astype(np.float32))


@pytest.fixture
def small_energy() -> MLPEnergy:
    """An energy of 6 + 5 inputs and 16 hidden units, in float64."""
    energy = MLPEnergy(6, 5, width=16, landscapes=10)
    reference_weights(energy)
    return energy.double()


@pytest.fixture
def small_module() -> tuple[IREDModule, TaskData]:
    """An untrained model of 3 × 3 inverses."""
    data = TaskData(Inverse(3), batch_size=8)
    energy = MLPEnergy(9, 9, width=16)
    reference_weights(energy)
    return IREDModule(energy), data


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds the project's configurations."""
    patch.chdir(folder)
    patch.setattr(sys, "path", [*sys.path])  # commands add the folders of the user's modules
    for name in ("configs", "callbacks"):
        (folder / name).symlink_to(ROOT / name)


Ired = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ired(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Ired:
    """Run the program in an empty folder: ired("fit", "--config", …) → (exit code, stdout, stderr)."""
    enter(tmp_path, monkeypatch)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


TINY = [
    *(
        "--config",
        "configs/quickstart.yaml",
        "--model.energy.width",
        "16",
        "--data.batch_size",
        "16",
    ),
    *(
        "--data.validation_problems",
        "40",
        "--data.test_problems",
        "60",
        "--trainer.max_steps",
        "12",
    ),
    *("--trainer.val_check_interval", "5", "--trainer.log_every_n_steps", "2", "--save_every", "4"),
]


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train for 12 steps, with further arguments, and return the run: once for all tests, so none may change it."""

    @cache
    def run(*arguments: str) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        with pytest.MonkeyPatch.context() as patch:
            alone(patch)
            enter(folder, patch)
            assert main(["fit", *TINY, *arguments, "--name", "tiny"]) == 0
        return folder / "runs" / "quickstart" / "tiny"

    return run


@pytest.fixture
def tiny_run(ired: Ired, trained: Trained, tmp_path: Path) -> Path:
    """The folder of a finished run of 12 steps."""
    return Path(shutil.copytree(trained(), tmp_path / "runs" / "quickstart" / "tiny"))

"""Read our checkpoints and the published implementation's model-*.pt: weights only, never code."""

import hashlib
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from ired_interp.config import build
from ired_interp.diffusion import Inference
from ired_interp.energy import (
    ConnectivityEnergy,
    Energy,
    MLPEnergy,
    ShortestPathEnergy,
    SudokuEnergy,
)
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.results import Choice, Run, Which, choose_checkpoint
from ired_interp.solver import SolverModule
from ired_interp.tasks import Connectivity, ShortestPath, Sudoku, Task
from ired_interp.tasks.data import TaskData
from ired_interp.user_modules import look_in

CONFIG_KEY = "ired_config"
_PUBLISHED = {"average": ("ema", "ema_model.model.ebm."), "raw": ("model", "model.ebm.")}

Weights = Literal["average", "raw"]


@dataclass
class Checkpoint:
    """A checkpoint file in memory."""

    choice: Choice
    content: dict[str, Any]
    digest: str

    @property
    def path(self) -> Path:
        """Its file."""
        return self.choice.path

    @property
    def sentence(self) -> str:
        """Which checkpoint this is, and why it is meant."""
        return self.choice.sentence(self.step)

    @property
    def published(self) -> bool:
        """Whether the published implementation wrote it."""
        return CONFIG_KEY not in self.content

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The resolved configuration of the run that wrote it; None in a published file."""
        return None if self.published else yaml.safe_load(self.content[CONFIG_KEY])

    @property
    def run(self) -> Run | None:
        """The run whose folder it lies in, if any."""
        run = Run(self.path.absolute().parent.parent)
        return run if run.config.is_file() else None

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.content["step" if self.published else "global_step"])

    @property
    def optimizer(self) -> dict[str, Any] | None:
        """State of the optimizer; None where the file holds none."""
        states: list[dict[str, Any]] = self.content.get("optimizer_states") or [None]
        return states[0]

    def state(self, weights: Weights) -> dict[str, Tensor]:
        """Return the weights asked for, under the module's names.

        Raises
        ------
        InputError
            If there are no such weights.
        """
        if weights not in _PUBLISHED:
            raise InputError(f"weights {weights!r} do not exist; choose 'average' or 'raw'.")
        if not self.published:
            average: dict[str, Tensor] = self.content["state_dict"]
            raw: dict[str, Tensor] = self.content.get("current_model_state", average)
            return raw if weights == "raw" else average
        key, prefix = _PUBLISHED[weights]
        state = {
            k.removeprefix(prefix): v for k, v in self.content[key].items() if k.startswith(prefix)
        }
        return {f"energy.{name}": value for name, value in state.items()}

    def find_modules(self) -> None:
        """Import modules from where the run imported them whose folder this file lies in, too."""
        if self.run is not None:
            look_in(self.run.module_folders())

    def build(self) -> tuple[SolverModule, TaskData | None]:
        """Build the module, its weights still to be loaded, and its data where they are known.

        Raises
        ------
        InputError
            If it is a published checkpoint of another energy.
        """
        self.find_modules()
        if self.config is not None:
            return build(self.config)
        energy, task = self._published_energy(self.state("raw"))
        if task is None:
            return IREDModule(energy, value_range=2.0), None
        inference = Inference("published", task.steps)
        return IREDModule(energy, inference=inference, value_range=1.0, task=task), None

    def _published_energy(self, state: dict[str, Tensor]) -> tuple[Energy, Task | None]:
        """Recognise a published energy by its parameters; the task where it is no continuous one.

        Raises
        ------
        InputError
            If it is none of those known.
        """
        landscapes = len(self.content["model"]["betas"])
        if "energy.fc4.weight" in state:
            (width, inputs), solution_dim = (
                state["energy.fc1.weight"].shape,
                state["energy.fc4.weight"].shape[0],
            )
            return MLPEnergy(inputs - solution_dim, solution_dim, width, landscapes), None
        if "energy.conv5.weight" in state:
            digits, width = state["energy.conv5.weight"].shape[:2]
            return SudokuEnergy(digits**3, digits**3, width, landscapes), Sudoku()
        if "energy.nlm.layers.0.logic.3.layer.0.mlp.0.weight" in state:
            return ConnectivityEnergy(landscapes=landscapes), Connectivity()
        if "energy.block2.linear.weight" in state:
            return ShortestPathEnergy("published", landscapes=landscapes), ShortestPath()
        raise InputError(
            f"{self.path} looks like a published checkpoint but holds none of the energies known "
            "here (MLP, Sudoku, connectivity, shortest path)."
        )

    def load_into(self, module: SolverModule, weights: Weights) -> None:
        """Put weights into a module.

        Raises
        ------
        InputError
            If a name or shape differs.
        """
        own, state = module.state_dict(), self.state(weights)
        if isinstance(module, IREDModule):
            state = module.energy.without_unused(state, "energy.")
        different = [n for n in own if n in state and own[n].shape != state[n].shape]
        if different:
            name = different[0]
            raise InputError(
                f"{self.path} does not fit the model: {name} has shape {tuple(state[name].shape)} "
                "in the checkpoint and "
                f"{tuple(own[name].shape)} in the model; use the configuration of the run that "
                "wrote it."
            )
        if own.keys() != state.keys():
            name = sorted(own.keys() ^ state.keys())[0]
            where = "the model lacks it" if name in state else "the checkpoint lacks it"
            raise InputError(
                f"{self.path} does not fit the model: {where}: {name}; use the configuration of "
                "its run."
            )
        module.load_state_dict(state)


def read_checkpoint(path: str | Path, which: Which | None = None) -> Checkpoint:
    """Read a checkpoint without running any code that it may hold.

    Parameters
    ----------
    path : str | Path
        A checkpoint, or a run's folder.
    which : {"best", "last"} | None
        Of a run: the best by validation error (None: the same), or the last.

    Raises
    ------
    InputError
        If it is missing, truncated, holds code, or is no IRED checkpoint; if `which` is given with
        a file.
    """
    choice = choose_checkpoint(path, which)
    path = choice.path
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error.strerror}); check the path."
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"checkpoint {path} is not a file of weights, or holds code beside them; only files "
            "that load weights-only are read."
        ) from None
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
    ):
        raise InputError(
            f"checkpoint {path} is truncated or damaged; copy it again or take an earlier one."
        ) from None
    ours = isinstance(content, dict) and {CONFIG_KEY, "state_dict", "global_step"} <= content.keys()
    published = isinstance(content, dict) and {"step", "model", "ema"} <= content.keys()
    if not ours and not published:
        raise InputError(
            f"{path} is no IRED checkpoint; expected one that `ired fit` wrote, or a published "
            "model-*.pt."
        )
    return Checkpoint(choice, content, hashlib.sha256(blob).hexdigest()[:16])


def load(
    path: str | Path,
    weights: Weights = "average",
    device: torch.device | str = "cpu",
    which: Which | None = None,
) -> SolverModule:
    """Load a trained model.

    Parameters
    ----------
    path : str | Path
        A checkpoint of `ired fit`, a run folder, or a published model-*.pt.
    weights : Weights
        "average" or "raw".
    device : torch.device | str
        Where to put it.
    which : {"best", "last"} | None
        Of a run folder: the checkpoint of the lowest validation error (None: the same), or the
        last. A run that has kept no best gives its last.

    Returns
    -------
    SolverModule
        The module (an IREDModule unless a baseline was trained), in evaluation mode.

    Raises
    ------
    InputError
        If the file is missing, truncated, foreign or holds code; if `which` is given with a file.
    """
    checkpoint = read_checkpoint(path, which)
    module, _ = checkpoint.build()
    checkpoint.load_into(module, weights)
    return module.eval().to(device)

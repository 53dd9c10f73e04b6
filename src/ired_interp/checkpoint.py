"""Read our checkpoints and the published implementation's model-*.pt: weights only, never code.

Over 300 lines: ours and the published files are told apart and restored by the same few steps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ired_interp.checkpoint_file import (
    AVERAGE_ALONE,
    CONFIG_KEY,
    alike,
    is_ours,
    is_published,
    read_weights_only,
)
from ired_interp.class_paths import check_class_paths, import_modules, modules_of_run
from ired_interp.config import build
from ired_interp.device import usable_device
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
from ired_interp.yaml_bounds import load_yaml

_KEPT = ("seed_everything", "model", "data")  # of the configuration: no trainer, no places
_PUBLISHED = {"average": ("ema", "ema_model.model.ebm."), "raw": ("model", "model.ebm.")}

Weights = Literal["average", "raw"]


@dataclass
class Checkpoint:
    """A checkpoint file in memory.

    Parameters
    ----------
    choice : Choice
        Which file it is, and why.
    content : dict
        What it holds.
    digest : str
        Of its bytes.
    modules : tuple of str
        Modules that the user names, whose classes its configuration may name.
    """

    choice: Choice
    content: dict[str, Any]
    digest: str
    modules: tuple[str, ...] = ()

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
        """The configuration of the run that wrote it; None in a published file.

        Of model, data and seed, whose classes are all vouched for; and its trainer's callbacks,
        whose are not: `named` are the modules to compare them with. Nothing else is kept.

        Raises
        ------
        InputError
            If it is none, or names a class that nobody vouches for.
        """
        if self.published:
            return None
        name = f"checkpoint {self.path}"
        found = load_yaml(self.content[CONFIG_KEY], f"the configuration in {name}")
        if not isinstance(found, dict) or not all(
            isinstance(found.get(part), dict) for part in ("model", "data")
        ):
            raise InputError(f"{name} holds no configuration of a model and its data.")
        trainer = found.get("trainer")
        kept = {part: found[part] for part in _KEPT if part in found}
        check_class_paths(kept, self.named, name, {"data": TaskData})
        callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
        return kept | {"trainer": {"callbacks": callbacks if isinstance(callbacks, list) else []}}

    @cached_property
    def named(self) -> set[str]:
        """Modules whose classes its configuration may name, besides those of this package.

        They are those of `modules`, and those that the configuration of the run names in whose
        folder it lies, if that is the user's own; they can be imported from here on.
        """
        own = modules_of_run(self.run) if self.run is not None else set()
        if own and self.run is not None:
            look_in(self.run.module_folders())
        return {*self.modules, *own}

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
            if weights == "raw" and self.content.get(AVERAGE_ALONE):
                raise InputError(
                    f"{self.path} holds averaged weights alone, as it was published; take "
                    "'average', or the run itself."
                )
            average: dict[str, Tensor] = self.content["state_dict"]
            raw: dict[str, Tensor] = self.content.get("current_model_state", average)
            return raw if weights == "raw" else average
        key, prefix = _PUBLISHED[weights]
        state = {
            k.removeprefix(prefix): v for k, v in self.content[key].items() if k.startswith(prefix)
        }
        return {f"energy.{name}": value for name, value in state.items()}

    def build(self) -> tuple[SolverModule, TaskData | None]:
        """Build the module, its weights still to be loaded, and its data where they are known.

        Raises
        ------
        InputError
            If it is a published checkpoint of another energy, or its configuration is refused.
        """
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
        kinds = [n for n in own if n in state and not alike(own[n], state[n])]
        if kinds:
            raise InputError(
                f"{self.path} does not fit the model: {kinds[0]} holds {state[kinds[0]].dtype} in "
                f"the checkpoint, where the model has {own[kinds[0]].dtype}; take another file."
            )
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
        try:
            module.load_state_dict(state)
        except RuntimeError:
            raise InputError(
                f"{self.path} holds weights that are no plain tensors of numbers; take another "
                "file."
            ) from None


def read_checkpoint(
    path: str | Path, which: Which | None = None, modules: Iterable[str] = ()
) -> Checkpoint:
    """Read a checkpoint without running any code that it may hold.

    Parameters
    ----------
    path : str | Path
        A checkpoint, or a run's folder.
    which : {"best", "last"} | None
        Of a run: the best by validation error (None: the same), or the last.
    modules : iterable of str
        Modules of the user's own whose classes it may name.

    Raises
    ------
    InputError
        If it is missing, no regular file, damaged, larger than memory, holds code, or is no IRED
        checkpoint; if `which` is given with a file.
    """
    choice = choose_checkpoint(path, which)
    content, digest = read_weights_only(choice.path)
    checkpoint = Checkpoint(choice, content, digest, tuple(modules))
    if not (is_ours(content) or is_published(content)):
        raise InputError(
            f"{choice.path} is no IRED checkpoint; expected one that `ired fit` wrote, or a "
            "published model-*.pt."
        )
    return checkpoint


def load(
    path: str | Path,
    weights: Weights = "average",
    device: torch.device | str = "cpu",
    which: Which | None = None,
    modules: Iterable[str] = (),
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
    modules : iterable of str
        Names of modules of your own whose classes the file may name, as ``["my_energy"]``. Those
        that are imported already need no mention, nor do those of a run below the current folder.

    Returns
    -------
    SolverModule
        The module (an IREDModule unless a baseline was trained), in evaluation mode.

    Raises
    ------
    InputError
        If the file is missing, damaged, foreign, holds code, or names classes that nobody vouches
        for; if `which` is given with a file; if there is no such device.
    """
    place = usable_device(device)
    checkpoint = read_checkpoint(path, which, modules)
    import_modules(checkpoint.modules)
    module, _ = checkpoint.build()
    checkpoint.load_into(module, weights)
    return module.eval().to(place)

"""What the rehearsals of all commands share."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from ired_interp.checkpoint import Checkpoint
from ired_interp.module import IREDModule
from ired_interp.rehearsal.contract import check_energy, check_gradient, check_problems
from ired_interp.solver import SolverModule
from ired_interp.tasks.base import Problems, Variant
from ired_interp.tasks.data import TaskData


class Trial(NamedTuple):
    """A name, and what returns the sentence on what was found, or raises."""

    name: str
    run: Callable[[], str]


class TaskRehearsal:
    """The checks of one task.

    `module` and `data` are there once its configuration and checkpoint are read.
    """

    module: SolverModule
    data: TaskData
    problems: Problems

    def __init__(self, command: str, arguments: list[str], folder: Path, ranks: int) -> None:
        self.command, self.arguments, self.folder, self.ranks = command, arguments, folder, ranks
        self.facts: dict[str, Any] = {}

    def checks(self, thorough: bool) -> Iterator[Trial]:
        """In order; each is made when those before it went well."""
        raise NotImplementedError

    def new_facts(self) -> dict[str, Any]:
        """Return what was found of the task since this was last asked."""
        facts, self.facts = self.facts, {}
        return facts

    def configuration_text(self) -> str | None:
        """Return the configuration of a task that nothing else decides, once it is read."""
        return None

    def contract(self, variants: list[Variant]) -> Iterator[Trial]:
        """Return the checks of the task's problems and of the model's energy, if it has one."""
        yield self.problems_check(variants)
        if isinstance(self.module, IREDModule):
            yield Trial("energy", lambda: check_energy(self._copy(), self.problems))
            yield Trial("gradient", lambda: check_gradient(self._copy(), self.problems))

    def problems_check(self, variants: list[Variant]) -> Trial:
        """Return the check of the task's problems, which leaves a few of them in `problems`."""

        def check() -> str:
            self.problems, found = check_problems(self.data, self.module, variants)
            return found

        return Trial("problems", check)

    def checkpoint_facts(self, checkpoint: Checkpoint | None) -> dict[str, Any]:
        """Return the facts of a task that starts from a checkpoint, or needs none."""
        run = checkpoint.run if checkpoint else None
        return {
            "checkpoint": checkpoint.digest if checkpoint else None,
            "step": checkpoint.step if checkpoint else 0,
            "run": str(run.path.absolute()) if run else None,
            "dimensions": [self.module.condition_dim, self.module.solution_dim],
        }

    def _copy(self) -> IREDModule:
        module = deepcopy(self.module).eval()
        assert isinstance(module, IREDModule)
        return module

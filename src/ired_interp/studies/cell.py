"""One training of a study with everything that is done to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ired_interp.results.run import Run


@dataclass(frozen=True)
class Step:
    """One `ired` command of a cell.

    Attributes
    ----------
    arguments : tuple of str
        Of `ired`, command first, without what says where the run lies.
    """

    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command's name."""
        return self.arguments[0]


@dataclass(frozen=True)
class Cell:
    """A training at one place of the grid with one seed.

    Attributes
    ----------
    label : str
        The training's name and its place in the grid; what the seeds of one row have in common.
    seed : int
        Of the training.
    run : Run
        Where it lies.
    configs : tuple of str
        The configuration files of all its steps.
    steps : tuple of Step
        Training first.
    training : str
        The training's name alone.
    place : mapping
        Its place in the grid, by option.
    """

    label: str
    seed: int
    run: Run
    configs: tuple[str, ...]
    steps: tuple[Step, ...]
    training: str = ""
    place: Mapping[str, Any] = field(default_factory=dict)

    def command_line(self, step: Step) -> tuple[str, ...]:
        """Return the arguments of `ired` that make a step from nothing."""
        if step.command == "fit":
            folder = self.run.path
            place = ("--runs", str(folder.parent.parent), "--experiment", folder.parent.name)
            return (*step.arguments, *place, "--name", folder.name)
        return (step.command, "--ckpt", str(self.run.path), *step.arguments[1:])

"""The commands of a job: one, or one for each task of an array."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ired_interp.errors import InputError

COMMANDS = ("fit", "probe", "test", "validate")
# Options whose values lie in the job's folder, not in the repository.
PATH_OPTIONS = ("--ckpt", "--resume", "--output", "--runs")


@dataclass(frozen=True)
class JobTask:
    """One `ired` command of a job.

    Attributes
    ----------
    index : int
        In the array.
    label : str
        What sets it apart from the other tasks of the array; empty where there is one task.
    arguments : tuple[str, ...]
        Of `ired`, command first.
    run : str | None
        Folder of the run it trains or looks at, on the cluster; None if there is none.
    """

    index: int
    label: str
    arguments: tuple[str, ...]
    run: str | None = None

    @property
    def command(self) -> str:
        """The command of `ired`: fit, probe, test or validate."""
        return self.arguments[0]

    def with_options(self, *options: str) -> JobTask:
        """Return the task with further options, which override earlier ones."""
        return replace(self, arguments=(*self.arguments, *options))

    def option(self, name: str) -> str | None:
        """Return the last value of an option, given as `--name value` or `--name=value`."""
        values = [value for given, value in options(self.arguments) if given == name]
        return values[-1] if values else None


def make_tasks(arguments: Sequence[str], arrays: Sequence[str], folder: str) -> list[JobTask]:
    """Make the tasks of `ired submit [--array KEY=V1,V2 …] -- arguments`.

    There is one for every combination of the array's values, as options after the arguments.

    Parameters
    ----------
    folder : str
        Absolute; relative paths of checkpoints, runs and outputs are below it.

    Raises
    ------
    InputError
        If the command cannot be a job, or an array is not valid.
    """
    if not arguments or arguments[0] not in COMMANDS:
        found = f"{arguments[0]!r}" if arguments else "nothing"
        raise InputError(
            f"a job runs one of {', '.join(COMMANDS)}, but {found} stands after --; write `-- fit "
            "--config FILE`."
        )
    if arrays and "--resume" in arguments:
        raise InputError("--array makes new runs, but --resume names one; submit without --array.")
    axes = [_axis(array) for array in arrays]
    tasks = []
    for index, choice in enumerate(itertools.product(*axes)):
        extra = [text for key, value in choice for text in (f"--{key}", value)]
        label = "-".join(_short(key, value) for key, value in choice)
        tasks.append(JobTask(index, label, tuple(_absolute_paths([*arguments, *extra], folder))))
    labels = [task.label for task in tasks]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"--array makes two tasks of the same name, {twice[0]}; leave one out.")
    return tasks


def options(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Options and their values, in order; an option with several values comes several times."""
    found = []
    current = None
    for argument in arguments:
        if argument.startswith("--"):
            current, equals, value = argument.partition("=")
            if equals:
                found.append((current, value))
                current = None
        elif current is not None:
            found.append((current, argument))
    return found


def _axis(text: str) -> list[tuple[str, str]]:
    key, equals, values = text.removeprefix("--").partition("=")
    chosen = _split(values)
    if not key or not equals or not all(chosen):
        raise InputError(
            f"--array {text!r} is not valid; write --array data.task.rank=1,2,5 or --array "
            "config=a.yaml,b.yaml."
        )
    return [(key, value) for value in chosen]


def _split(values: str) -> list[str]:
    """Split at commas that stand outside of brackets."""
    parts, depth = [""], 0
    for character in values:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _short(key: str, value: str) -> str:
    """Return a part of a run's name: rank=2, or the name of a file."""
    if key == "config" or value.endswith((".yaml", ".yml")):
        return PurePosixPath(value).stem
    safe = "".join(c if c.isalnum() or c in "._+" else "-" for c in value).strip("-")
    return f"{key.rpartition('.')[2]}={safe}"


def _absolute_paths(arguments: list[str], folder: str) -> list[str]:
    """Return the arguments, with relative paths of options that name places below `folder`."""
    resolved = []
    current = None
    for argument in arguments:
        if argument.startswith("--"):
            current, equals, value = argument.partition("=")
            if equals and current in PATH_OPTIONS:
                argument = f"{current}={posixpath.join(folder, value)}"
        elif current in PATH_OPTIONS:
            argument = posixpath.join(folder, argument)
        resolved.append(argument)
    return resolved

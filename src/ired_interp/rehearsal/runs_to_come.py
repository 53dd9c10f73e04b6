"""The runs that jobs before this one will have made: made in small, so that it can be rehearsed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ired_interp.rehearsal.fit import FitRehearsal


class RunsToCome:
    """Runs that do not exist yet, each trained for a few steps once it is asked for.

    Parameters
    ----------
    trainings : Mapping[str, Sequence[str]]
        Path of a run, and the arguments of the `ired fit` that will make it, command first.
    folder : Path
        Where the small ones lie.
    """

    def __init__(self, trainings: Mapping[str, Sequence[str]], folder: Path) -> None:
        self._trainings, self._folder = trainings, folder
        self._made: dict[str, Path] = {}

    def within(self, arguments: Sequence[str]) -> list[str]:
        """Return a command's arguments with the small runs in the place of those to come."""
        return [self._within(word) for word in arguments]

    def _within(self, word: str) -> str:
        for run in self._trainings:
            head, found, rest = word.partition(run)
            if found and (not head or head.endswith("=")) and rest[:1] in ("", "/"):
                return f"{head}{self._small(run)}{rest}"
        return word

    def _small(self, run: str) -> Path:
        if run not in self._made:
            folder = self._folder / str(len(self._made))
            rehearsal = FitRehearsal("fit", list(self._trainings[run][1:]), folder, ranks=1)
            rehearsal.configuration()
            rehearsal.training()
            self._made[run] = rehearsal.cli.run.path
        return self._made[run]

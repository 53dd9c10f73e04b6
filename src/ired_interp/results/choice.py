"""Which checkpoint a run means: the best by validation where there is one, the last otherwise."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.results.run import LAST, Run, open_run

Which = Literal["best", "last"]

_NO_BEST = "last, as no validation has kept a best"
_BEST = re.compile(r"best-step=(\d+)(?:-v\d+)?\.ckpt")


@dataclass(frozen=True)
class Choice:
    """A checkpoint, and why it is meant.

    Attributes
    ----------
    path : Path
        Of the file.
    reason : str
        "best of validation", "last", or the file's name where it was named itself.
    step : int | None
        Updates done, where that is known without reading the file.
    error : float | None
        Validation error there, where it was logged.
    """

    path: Path
    reason: str
    step: int | None = None
    error: float | None = None

    def sentence(self, step: int | None = None) -> str:
        """Say which checkpoint it is; `step` is that of the file, once it is read."""
        step = self.step if step is None else step
        place = "" if step is None else f", step {step}"
        error = "" if self.error is None else f" (val error {self.error:.4g})"
        return f"checkpoint: {self.reason}{place}{error}"


def choose_checkpoint(path: str | Path, which: Which | None = None) -> Choice:
    """Return the checkpoint that a path means: a file itself, or one of a run's folder.

    Parameters
    ----------
    path : str | Path
        A checkpoint, or a run's folder.
    which : {"best", "last"} | None
        Of a run: the best by validation error (None: the same), or the last. A run without a best
        means its last.

    Raises
    ------
    InputError
        If the folder is no run or holds no checkpoint, `which` does not exist, or it is given
        with a file.
    """
    path = Path(path)
    if which is not None and which not in get_args(Which):
        raise InputError(f"checkpoint {which!r} does not exist; choose 'best' or 'last'.")
    if not path.is_dir():
        if which is not None:
            raise InputError(
                f"{which!r} chooses among the checkpoints of a run, but {path} is one file; name "
                "the run's folder, or leave the choice out."
            )
        return Choice(path, str(path))
    run = open_run(path)
    if which == "last":
        return Choice(run.last_checkpoint(), "last")
    return choice_of(run) or Choice(run.last_checkpoint(), _NO_BEST)


def best_checkpoint(run: Run) -> Choice | None:
    """Return the kept checkpoint of the lowest validation error; None if none is kept."""
    files = {f: m for f in run.checkpoints.glob("*.ckpt") if (m := _BEST.fullmatch(f.name))}
    logged = validation_errors(run) if files else {}
    kept = [
        Choice(file, "best of validation", step := int(match[1]), logged.get(step))
        for file, match in files.items()
    ]
    usable = [choice for choice in kept if choice.error is None or math.isfinite(choice.error)]
    return min(usable, key=_rank, default=None)


def _rank(choice: Choice) -> tuple[float, int]:
    assert choice.step is not None
    return (math.inf if choice.error is None else choice.error), -choice.step


def validation_errors(run: Run) -> dict[int, float]:
    """Return the validation errors by which the best is chosen, by step (updates done)."""
    data = read_yaml(run.config).get("data")
    variants = data.get("evaluate") if isinstance(data, dict) else None
    name = f"val/error/{variants[0] if isinstance(variants, list) and variants else 'same'}"
    return {step: values[name] for step, values in run.metrics().items() if name in values}


def choice_of(run: Run) -> Choice | None:
    """Return the checkpoint that a run means without being asked; None if it has none."""
    last = run.checkpoints / LAST
    return best_checkpoint(run) or (Choice(last, _NO_BEST) if last.is_file() else None)


def behind_best(run: Run, step: int) -> str | None:
    """Say that the weights of a step were validated as worse than the best; None if not so."""
    best = best_checkpoint(run)
    before = {s: e for s, e in validation_errors(run).items() if s <= step}
    if best is None or best.error is None or not before or best.step == step:
        return None
    last = max(before)
    if before[last] <= best.error:
        return None
    return (
        f"worse than the best of validation: error {before[last]:.4g} at step {last}, against "
        f"{best.error:.4g} at step {best.step}, which {best.path} holds."
    )

"""Validation errors against their floor and their best: when a training has collapsed.

Training keeps this record in the run's folder, and whoever shows the run reads it there.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ired_interp.files import atomic, read_regular
from ired_interp.results.run import Run

WORSE = 1.5  # times the best error: from here on, a setback
CLOSE = 1.02  # times the best error: up to here, an error has not got worse
RECOVERED = 1.25  # times the best error: up to here, a setback is over

VALIDATION = "validation.json"
_MOST_BYTES = 10_000_000


@dataclass
class Setback:
    """A stretch of validations whose error got much worse.

    Attributes
    ----------
    step, error : int, float
        Updates done at its first validation, and the error found there.
    best, best_step : float, int
        The lowest error before, and where; infinite if there was none.
    collapse : bool
        Whether the error is no number, or no better than that of a predictor that needs no
        learning.
    ended : int | None
        Updates done at the first validation after it; None while it lasts.
    """

    step: int
    error: float
    best: float
    best_step: int
    collapse: bool
    ended: int | None = None


@dataclass
class Course:
    """The validation errors of one distribution, taken one by one.

    An error of more than 1.5 times the best begins a setback. It is a collapse if the error lies
    above the floor, or is not finite; where the best lies below the floor, 1.02 times the best are
    enough for that. A setback ends, as a collapse, when it becomes one. It is over once the error
    is at most 1.25 times the best and not above a floor that the best lies below.

    Attributes
    ----------
    floor_name, floor : str, float
        The best predictor that needs no learning, and its error on the validation set.
    error, step : float, int
        The last error, and where.
    best, best_step : float, int
        The lowest error, and where.
    setbacks : list[Setback]
        In order.
    """

    floor_name: str
    floor: float
    error: float = math.nan
    step: int = 0
    best: float = math.inf
    best_step: int = 0
    setbacks: list[Setback] = field(default_factory=list)

    @property
    def lasting(self) -> Setback | None:
        """The setback that lasts."""
        last = self.setbacks[-1] if self.setbacks else None
        return last if last is not None and last.ended is None else None

    def add(self, step: int, error: float) -> Setback | None:
        """Take the error found at a step; return the setback that begins or is over with it."""
        self.step, self.error = step, error
        lasting, changed = self.lasting, None
        crossed = self.best < self.floor < error
        worse = error > WORSE * self.best
        collapse = not math.isfinite(error) or (
            error > self.floor and (worse or (crossed and error > CLOSE * self.best))
        )
        if collapse if lasting else collapse or worse:
            if lasting is None or not lasting.collapse:
                changed = Setback(step, error, self.best, self.best_step, collapse)
                self.setbacks.append(changed)
                if lasting is not None:
                    lasting.ended = step
        elif lasting is not None and error <= RECOVERED * self.best and not crossed:
            lasting.ended, changed = step, lasting
        if error < self.best:
            self.best, self.best_step = error, step
        return changed


@dataclass
class Validation:
    """The courses of a run's validation errors, by distribution.

    Attributes
    ----------
    courses : dict[str, Course]
        By distribution; the best checkpoint is chosen by the first.
    finished : bool
        Whether all steps are done.
    """

    courses: dict[str, Course] = field(default_factory=dict)
    finished: bool = False

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Validation":
        """Return the record of which this is the `asdict`."""
        courses = {
            variant: Course(
                **{**course, "setbacks": [Setback(**one) for one in course["setbacks"]]}
            )
            for variant, course in content["courses"].items()
        }
        return cls(courses, content["finished"])

    def above_floor(self, variant: str) -> bool:
        """Whether training ended without an error below the floor."""
        course = self.courses[variant]
        return self.finished and not course.best < course.floor

    def marks(self) -> list[str]:
        """Return a few words for each distribution on which something went wrong."""
        marks = []
        for variant, course in self.courses.items():
            for setback in _notable(course):
                word = "collapsed" if setback.collapse else "setback"
                end = "" if setback.ended is None else f", recovered at {setback.ended}"
                marks.append(f"{variant}: {word} at {setback.step}{end}")
            if self.above_floor(variant):
                marks.append(f"{variant}: never below “{course.floor_name}”")
        return marks

    def sentences(self) -> list[str]:
        """Return what went wrong, a sentence each."""
        sentences = []
        for variant, course in self.courses.items():
            for setback in _notable(course):
                sentences.append(f"{setback_sentence(variant, course, setback)}.")
            if self.above_floor(variant):
                sentences.append(f"{floor_sentence(variant, course)}.")
        return sentences


def _notable(course: Course) -> list[Setback]:
    """Return the last collapse, or the setback that lasts."""
    collapses = [setback for setback in course.setbacks if setback.collapse]
    return collapses[-1:] or ([course.lasting] if course.lasting else [])


def setback_sentence(variant: str, course: Course, setback: Setback) -> str:
    """Say what happened, at which step and what the best was, without a full stop."""
    what = (
        f"{'collapse' if setback.collapse else 'setback'} at step {setback.step}: "
        f"validation error ({variant}) {setback.error:.3g}"
    )
    best = f"{setback.best:.3g} at step {setback.best_step}"
    if math.isfinite(setback.error):
        what += f" is {setback.error / setback.best:.3g} times its best, {best}"
    else:
        what += " is no number" + (f", after {best}" if math.isfinite(setback.best) else "")
    if setback.error > course.floor:
        what += f", and above that of “{course.floor_name}”, {course.floor:.3g}"
    return what if setback.ended is None else f"{what}; recovered at step {setback.ended}"


def floor_sentence(variant: str, course: Course) -> str:
    """Say that the error never came below its floor, without a full stop."""
    best = f"best {course.best:.3g} at step {course.best_step}"
    floor = f"that of “{course.floor_name}” ({course.floor:.3g}), which needs no learning"
    return f"validation error ({variant}) never came below {floor}: {best}"


def write_validation(run: Run, validation: Validation) -> None:
    """Write the record into the run's folder, atomically."""
    with atomic(run.path / VALIDATION) as temporary:
        temporary.write_text(json.dumps(asdict(validation)))


def read_validation(run: Run) -> Validation | None:
    """Return the record of a run; None if it has none that can be read."""
    try:
        return Validation.from_dict(
            json.loads(read_regular(run.path / VALIDATION, _MOST_BYTES, "record"))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

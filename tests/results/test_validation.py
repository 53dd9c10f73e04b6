"""A collapse is seen at its first validation, said once, and not seen where there is none.

The courses of addition, completion and inverse are those of trainings at the paper's size.
"""

import math
from pathlib import Path

import pytest

from ired_interp.results import Run
from ired_interp.results.validation import (
    Course,
    Validation,
    read_validation,
    setback_sentence,
    write_validation,
)

COPYING = {"same": 0.01753, "harder": 0.2058}  # completion
CONSTANT = {"same": 2 / 3, "harder": 25 / 6}  # addition: the variance of the sum
STEPS = [2500, 5000, 10_000, 15_000, 20_000, 22_500, 25_000, 50_000]


def course(floor: float, errors: list[float], steps: list[int] = STEPS) -> tuple[Course, list[str]]:
    """What each validation of a series says: "setback 20000", "collapse 25000", "over 50000"."""
    taken, said = Course("floor", floor), []
    for step, error in zip(steps, errors, strict=False):
        if (change := taken.add(step, error)) is not None:
            kind = "collapse" if change.collapse else "setback"
            said.append(f"{kind if change is taken.lasting else 'over'} {step}")
    return taken, said


@pytest.mark.parametrize(
    ("floor", "errors", "expected"),
    [
        pytest.param(
            COPYING["same"],
            [0.0191, 0.0177, 0.0177, 0.0178, 0.0179, 0.052, 0.93],
            ["collapse 22500"],
            id="completion-published",
        ),
        pytest.param(
            COPYING["harder"],
            [0.222, 0.2076, 0.208, 0.209, 0.210, 0.22, 0.39],
            ["collapse 25000"],
            id="completion-published-harder",
        ),
        pytest.param(
            COPYING["same"],
            [0.68, 0.042, 0.0180, 0.0178, 0.0181, 0.066, 0.065, 2.18],
            ["collapse 22500"],
            id="completion-published-negatives",
        ),
        pytest.param(
            COPYING["harder"],
            [2.0, 0.234, 0.2095, 0.2090, 0.212, 0.29, 27, 28],
            ["collapse 25000"],
            id="completion-published-negatives-harder",
        ),
        pytest.param(
            CONSTANT["harder"],
            [0.68, 0.585, 0.579, 0.60, 1.65, 1.7, 1.93],
            ["setback 20000"],
            id="addition-published-harder",
        ),
        pytest.param(
            COPYING["same"],
            [0.019, 0.01745, 0.0175, 0.0174, 0.0179, 0.0178],
            ["collapse 20000"],
            id="passes-its-floor-again",
        ),
        pytest.param(0.1, [0.3, 0.05, math.nan, math.nan], ["collapse 10000"], id="nan"),
        pytest.param(0.1, [math.nan, 0.05], ["collapse 2500", "over 5000"], id="nan-at-first"),
        pytest.param(0.1, [0.05, math.inf, 0.04], ["collapse 5000", "over 10000"], id="infinite"),
    ],
)
def test_it_is_said_at_the_first_bad_validation(
    floor: float, errors: list[float], expected: list[str]
) -> None:
    assert course(floor, errors)[1] == expected


@pytest.mark.parametrize(
    ("floor", "errors"),
    [
        pytest.param(
            COPYING["same"],
            [0.56, 0.044, 0.0198, 0.0180, 0.0180, 0.0186, 0.0185, 0.0181],
            id="completion",
        ),
        pytest.param(
            COPYING["harder"],
            [1.2, 0.257, 0.234, 0.2102, 0.215, 0.224, 0.249, 0.276],
            id="completion-harder",
        ),
        pytest.param(
            CONSTANT["same"], [1.1, 0.058, 0.0048, 0.0045, 0.0041, 0.0041, 0.0030], id="addition"
        ),
        pytest.param(CONSTANT["same"], [0.01, 0.00116, 0.0016], id="addition-ired-fit"),
        pytest.param(0.0978, [0.012, 0.009645, 0.00966], id="inverse"),
        pytest.param(0.0175, [0.01745, 0.01755, 0.0174], id="on-its-floor"),
    ],
)
def test_a_healthy_training_is_left_alone(floor: float, errors: list[float]) -> None:
    assert course(floor, errors)[1] == []


def test_what_lasts_is_said_once_and_what_is_over_can_come_again() -> None:
    errors = [0.02, 0.01, 0.016, 0.05, 0.018, 0.0126, 0.0124, 0.0155]
    taken, said = course(1.0, errors)
    assert said == ["setback 10000", "over 25000", "setback 50000"]
    assert [(one.step, one.ended) for one in taken.setbacks] == [(10_000, 25_000), (50_000, None)]


def test_a_setback_that_passes_the_floor_is_said_again_as_a_collapse() -> None:
    taken, said = course(0.1, [0.02, 0.04, 0.05, 0.3, 0.05, 0.02])
    assert said == ["setback 5000", "collapse 15000", "over 22500"]
    assert [one.ended for one in taken.setbacks] == [15_000, 22_500]


def test_the_sentence_names_step_error_best_and_floor() -> None:
    taken, _ = course(COPYING["same"], [0.0191, 0.0177, 0.0177, 0.0178, 0.0179, 0.052])
    assert setback_sentence("same", taken, taken.setbacks[0]) == (
        "collapse at step 22500: validation error (same) 0.052 is 2.94 times its best, 0.0177 at "
        "step 5000, and above that of “floor”, 0.0175"
    )


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    bad, _ = course(0.1, [0.05, math.nan])
    good, _ = course(0.1, [0.05, 0.04])
    high, _ = course(0.1, [0.3, 0.2])
    kept = Validation({"same": bad, "harder": good, "third": high}, finished=True)
    assert read_validation(Run(tmp_path)) is None
    write_validation(Run(tmp_path), kept)
    found = read_validation(Run(tmp_path))
    assert found is not None
    assert repr(found) == repr(kept)
    assert found.marks() == ["same: collapsed at 5000", "third: never below “floor”"]
    assert [sentence.split(":")[0] for sentence in found.sentences()] == [
        "collapse at step 5000",
        "validation error (third) never came below that of “floor” (0.1), which needs no learning",
    ]
    found.finished = False
    assert not found.above_floor("third"), "it may still come below"


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for text in ("", "{}", "[]", '{"courses": {"same": {}}, "finished": false}'):
        (tmp_path / "validation.json").write_text(text)
        assert read_validation(Run(tmp_path)) is None

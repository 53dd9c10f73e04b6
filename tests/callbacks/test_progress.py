"""On a terminal a training shows one line of our own: step, loss, last validation, time left."""

from pathlib import Path

import pytest

from conftest import TINY, Ired
from ired_interp.results import Run
from ired_interp.terminal import Bar


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float | None, str]]:
    """What is drawn on a terminal that somebody watches, with its state whenever it may change."""
    states: list[tuple[str, str, float | None, str]] = []
    monkeypatch.setattr("ired_interp.terminal.is_terminal", lambda: True)
    monkeypatch.setattr("ired_interp.terminal._LIVE_SECONDS", 0.0)
    monkeypatch.setattr(
        Bar, "_draw", lambda self, note, share, left: states.append((self.title, note, share, left))
    )
    return states


def test_each_step_shows_its_loss_the_last_validation_and_what_remains(
    ired: Ired, drawn: list[tuple[str, str, float | None, str]]
) -> None:
    code, _, err = ired("fit", *TINY, "--name", "a")
    assert code == 0, err
    steps = [state for state in drawn if state[0] == "step"]
    assert [note.split()[0] for _, note, *_ in steps] == [f"{n}/12" for n in range(1, 13)]
    assert all("  loss " in note and note.endswith(" steps/s") for _, note, *_ in steps)
    assert [share for *_, share, _ in steps] == pytest.approx([n / 12 for n in range(1, 13)])
    assert all(left.endswith(" left") for *_, left in steps)
    assert ["val/error/same" in note for _, note, *_ in steps] == 5 * [False] + 7 * [True]
    said = [line for line in err.splitlines() if line.startswith("validation at step")]
    assert [line.split(":")[0].split()[-1] for line in said] == ["5", "10", "12"]
    assert "Epoch" not in err
    assert "v_num" not in err
    last = Run(Path("runs/quickstart/a")).metrics()[12]["val/error/same"]
    words = said[-1].split()
    shown = words[words.index("val/error/same") + 1]
    assert shown == f"{last:.4g}", "the last validation is that of the last step"


def test_without_a_bar_the_last_validation_is_still_said(ired: Ired) -> None:
    code, _, err = ired("fit", *TINY, "--name", "a", "--trainer.max_steps", 3)
    assert code == 0, err
    lines = err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["1/3", "3/3"]
    (said,) = (line for line in lines if line.startswith("validation at step 3: "))
    assert "val/error/same" in said

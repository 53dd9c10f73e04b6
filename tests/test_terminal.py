"""What the program shows while it works: one display for all that is under way, or plain lines."""

import io
import sys
from itertools import count

import numpy as np
import pytest
import torch

from ired_interp import terminal
from ired_interp.spectra import MatrixOperator, lanczos
from ired_interp.terminal import Bar, track


class Terminal(io.StringIO):
    """Standard error of a person who watches; without a terminal's control sequences."""

    def isatty(self) -> bool:
        return True


def watch(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in place of standard error; each look at the clock takes a second."""
    watched = Terminal()
    monkeypatch.setattr(sys, "stderr", watched)
    monkeypatch.setenv("COLUMNS", "140")
    seconds = count()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(seconds)))
    return watched


def test_work_inside_other_work_shows_below_it_in_one_display(capsys, monkeypatch):
    screen = watch(monkeypatch)
    for landscape in track([0, 1], "landscapes"):
        with Bar("Lanczos") as inner:
            inner.update("120 products", 0.5, left=75)
            print("a result")
            assert Bar._display is not None
            tasks = Bar._display.tasks
            assert [task.description for task in tasks] == ["landscapes", "Lanczos"]
            assert [task.fields["note"] for task in tasks] == [f"{landscape}/2", "120 products"]
            assert tasks[1].fields["left"] == "1 min 15 s left"
            Bar._display.refresh()
    assert Bar._display is None
    assert "landscapes" in screen.getvalue()
    assert "120 products" in screen.getvalue()
    assert capsys.readouterr().out == "a result\na result\n"


def test_an_error_takes_the_display_away(monkeypatch):
    watch(monkeypatch)

    def work() -> None:
        with Bar("step") as bar:
            bar.update("1/2", 0.5)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        work()
    assert Bar._display is None


def test_lanczos_says_how_far_it_is_before_it_has_as_many_vectors_as_eigenpairs(
    monkeypatch,
):
    watch(monkeypatch)
    seen: list[tuple[str, float | None]] = []
    monkeypatch.setattr(Bar, "_draw", lambda self, note, share, left: seen.append((note, share)))
    matrix = torch.diag(torch.from_numpy(np.geomspace(1, 100, 60)))
    lanczos(MatrixOperator(matrix), 8, "LA", 1e-10)
    early, late = seen[0], seen[-1]
    assert int(early[0].split()[0]) < 8
    assert early[1] is None
    assert "of 8 eigenpairs converged" in late[0]
    assert int(late[0].split()[0]) > int(early[0].split()[0])


def test_without_a_terminal_a_line_says_the_state_from_time_to_time(capsys, monkeypatch):
    seconds = iter([0.0, 4.0, 12.0, 13.0, 25.0])  # the beginning, then one look for each item
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(seconds))
    assert list(track([1, 2, 3, 4], "figures")) == [1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == [
        "figures 1/4, 36 s left",
        "figures 3/4, 8 s left",
    ]

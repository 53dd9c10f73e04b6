"""Make what a study lacks: each step in a process of its own, several cells side by side."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ired_interp.errors import Interrupted
from ired_interp.results.state import state
from ired_interp.stopping import defer_signals, requested
from ired_interp.studies.cell import Cell, Step
from ired_interp.studies.record import Record
from ired_interp.studies.study import Study
from ired_interp.terminal import duration, log

_POLL = 0.2  # seconds between looks at the processes
_SHOW = 30.0  # seconds between lines about those that still run

Start = Callable[[Sequence[str], Path, dict[str, str]], "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: done, or why not.

    Attributes
    ----------
    cell : Cell
        Which one.
    fault : str
        Empty where all its steps are done.
    """

    cell: Cell
    fault: str = ""


@dataclass
class _Work:
    """A cell whose steps are being made."""

    cell: Cell
    record: Record
    step: Step
    process: "subprocess.Popen[bytes]"
    place: int
    started: float
    shown: float


def start_process(
    arguments: Sequence[str], output: Path, variables: dict[str, str]
) -> "subprocess.Popen[bytes]":
    """Start `ired` with arguments, its output appended to a file.

    It has a process group of its own: Ctrl-C reaches it through the study alone, once.
    """
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ired_interp", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )


def run_study(
    study: Study, jobs: int, devices: Sequence[str] = (), start: Start = start_process
) -> list[Outcome]:
    """Make every step of every cell that is not done yet.

    A step that fails ends its cell and no other. A training that was cut off goes on from its last
    checkpoint. Stopped by a signal, the study passes it on and waits for what runs to save itself.

    Parameters
    ----------
    study : Study
        What to make.
    jobs : int
        Processes at a time.
    devices : sequence of str
        GPUs to spread them over, as CUDA_VISIBLE_DEVICES names them; none: leave it to each.
    start : callable
        How a command is started: (arguments, log file, environment variables) → process.

    Returns
    -------
    list of Outcome
        In the order of the cells.

    Raises
    ------
    InputError
        If a run exists that is not this study's.
    Interrupted
        If a signal asked the study to stop.
    """
    records = {id(cell): Record(cell) for cell in study.cells}  # all are checked before one begins
    waiting = list(study.cells)
    outcomes: dict[int, Outcome] = {}
    working: list[_Work] = []
    places = list(range(jobs))

    def begin(cell: Cell, place: int) -> None:
        record = records[id(cell)]
        step, fault = _next(cell, record)
        if step is None:
            outcomes[id(cell)] = Outcome(cell, fault)
            if fault:
                log(f"{_title(cell)}: {fault}")
            return
        places.remove(place)
        record.begin()
        variables = {"CUDA_VISIBLE_DEVICES": devices[place % len(devices)]} if devices else {}
        process = start(_arguments(cell, step), record.log, variables)
        log(f"{_title(cell)}: {step.command} … ({record.log})")
        now = time.monotonic()
        working.append(_Work(cell, record, step, process, place, now, now))

    def end(work: _Work, code: int) -> None:
        working.remove(work)
        places.append(work.place)
        seconds = time.monotonic() - work.started
        work.record.add(work.step, seconds, ended=code == 0)
        if code == 0:
            log(f"{_title(work.cell)}: {work.step.command} done in {duration(seconds)}")
            waiting.insert(0, work.cell)  # for its next step
        else:
            fault = f"{work.step.command} ended with code {code}: {_last_line(work.record.log)}"
            log(f"{_title(work.cell)}: {fault}")
            outcomes[id(work.cell)] = Outcome(work.cell, fault)

    with defer_signals(again=lambda number: _pass_on(working, number)):
        try:
            while waiting or working:
                if (number := requested()) is not None:
                    _stop(working, number, end)
                    raise Interrupted(number)
                while waiting and places:
                    begin(waiting.pop(0), min(places))
                for work in list(working):
                    code = work.process.poll()
                    if code is not None:
                        end(work, code)
                    elif time.monotonic() - work.shown > _SHOW:
                        work.shown = time.monotonic()
                        log(f"{_title(work.cell)}: {_last_line(work.record.log)}")
                if working:
                    time.sleep(_POLL)
        finally:
            for work in working:
                work.process.kill()
    return [outcomes[id(cell)] for cell in study.cells]


def _next(cell: Cell, record: Record) -> tuple[Step | None, str]:
    """Return the step to make now, or None with what keeps the cell from going on, if anything."""
    for step in record.remaining():
        if profile := record.left_to(step):
            return None, f"{step.command} is left to a job of profile {profile}, which may yet run"
        if step.command == "fit" and cell.run.config.is_file():
            word = state(cell.run)
            if word == "running":
                return None, f"{cell.run.path} is being trained by another process; left alone"
            if word == "done":  # and the study was killed before it noted that
                record.add(step, 0.0, ended=True)
                continue
        return step, ""
    return None, ""


def _arguments(cell: Cell, step: Step) -> tuple[str, ...]:
    if step.command == "fit" and cell.run.config.is_file():
        return ("fit", "--resume", str(cell.run.path))
    return cell.command_line(step)


def _stop(working: list[_Work], number: int, end: Callable[[_Work, int], None]) -> None:
    """Pass a signal on to all that runs, and wait until it has saved what it had."""
    _pass_on(working, number)
    for work in list(working):
        end(work, work.process.wait())


def _pass_on(working: list[_Work], number: int) -> None:
    for work in working:
        with suppress(ProcessLookupError):
            os.killpg(work.process.pid, number)


def _title(cell: Cell) -> str:
    return f"{cell.label}, seed {cell.seed}"


def _last_line(file: Path) -> str:
    """Return the last line of a log that says anything."""
    with suppress(OSError):
        with file.open("rb") as log_file:
            log_file.seek(max(0, file.stat().st_size - 4096))
            text = log_file.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return lines[-1]
    return "nothing was printed"

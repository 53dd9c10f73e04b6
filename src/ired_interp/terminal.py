"""What the program shows while it works: one live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

Item = TypeVar("Item")

PLAIN_SECONDS = 10.0  # between plain lines
_LIVE_SECONDS = 0.25  # between states of a live line


def is_terminal() -> bool:
    """Whether a person is watching standard error."""
    return sys.stderr.isatty()


def is_rank_zero() -> bool:
    """Whether this process shows anything: of several of one run only the first does."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def log(line: str) -> None:
    """Print a plain line on standard error, at once; above the live display, if there is one.

    A reader that is gone (`| tee`, at Ctrl-C) does not end what it reads of.
    """
    if is_rank_zero():
        with suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)


def render(table: Table) -> str:
    """Render a table as text."""
    from rich.console import Console

    console = Console(width=140, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


class Bar:
    """How far along some work is: on a terminal a line of the live display, elsewhere plain lines.

    All bars that are open share the one display, so that work inside other work shows below it.

    Parameters
    ----------
    title : str
        What is done, such as "hessian_spectrum_theta".
    every : float
        Seconds between plain lines.
    after : float
        Seconds in which nothing is shown.
    live : bool
        Whether a terminal gets a line of the display; it gets plain lines otherwise.
    """

    _display: Progress | None = None  # of this process, while a bar is open
    _open = 0

    def __init__(
        self, title: str, every: float = PLAIN_SECONDS, after: float = 0.0, live: bool = True
    ) -> None:
        self.title, self._after = title, after
        self.live = live and is_terminal()
        self._every = _LIVE_SECONDS if self.live else every
        self._begin = time.monotonic()
        self._shown = float("-inf") if self.live else self._begin
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def due(self, now: float) -> bool:
        """Whether the next state would be shown, at the time of a monotonic clock."""
        return now - self._begin >= self._after and now - self._shown >= self._every

    def update(
        self, note: str, share: float | None, left: float | None = None, at_once: bool = False
    ) -> None:
        """Show the state of the work.

        Parameters
        ----------
        note : str
            What is done, such as "3/10".
        share : float | None
            Share of the work that is done; None if unknown.
        left : float | None
            Seconds that remain; by default as many for each share as so far.
        at_once : bool
            Whether to show it in any case; otherwise where it is due.
        """
        now = time.monotonic()
        if not is_rank_zero() or not (at_once or self.due(now)):
            return
        if left is None and share:
            left = (now - self._begin) * (1 / share - 1)
        remains = "" if left is None else f"{duration(left)} left"
        self._shown = now
        if self.live:
            self._draw(note, share, remains)
        else:
            log(f"{self.title} {note}" + (f", {remains}" if remains else ""))

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._task is None or Bar._display is None:
            return
        Bar._display.remove_task(self._task)
        self._task = None
        Bar._open -= 1
        if not Bar._open:
            Bar._display.stop()
            Bar._display = None

    def _draw(self, note: str, share: float | None, left: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._task is None:
            if Bar._display is None:
                Bar._display = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    TextColumn("{task.fields[note]}", markup=False),
                    TextColumn("{task.fields[left]}", markup=False, style="progress.remaining"),
                    console=Console(stderr=True),
                    transient=True,
                    redirect_stdout=False,  # results must not end up on standard error
                    refresh_per_second=4,
                )
                Bar._display.start()
            self._task = Bar._display.add_task(self.title, total=None, note="", left="")
            Bar._open += 1
        assert Bar._display is not None
        Bar._display.update(
            self._task,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            note=note,
            left=left,
        )


def track(items: Sequence[Item], title: str) -> Iterator[Item]:
    """Hand out the items and show how far along they are, with the time that remains."""
    with Bar(title) as bar:
        for done, item in enumerate(items):
            bar.update(f"{done}/{len(items)}", done / len(items))
            yield item


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 12 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

"""What the program shows while it works: bars on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")

PLAIN_SECONDS = 10.0  # between plain lines


def is_terminal() -> bool:
    """Whether a person is watching standard error."""
    return sys.stderr.isatty()


def is_rank_zero() -> bool:
    """Whether this process shows anything: of several of one run only the first does."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def log(line: str) -> None:
    """Print a plain line on standard error, at once.

    A reader that is gone (`| tee`, at Ctrl-C) does not end what it reads of.
    """
    if is_rank_zero():
        with suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)


def render(table: Table) -> str:
    """Render a table as text."""
    console = Console(width=140, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def track(items: Sequence[Item], title: str) -> Iterator[Item]:
    """Hand out the items and show how far along they are, with the time that remains."""
    if is_terminal() and is_rank_zero():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, description=title)
        return
    start = shown = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - shown >= PLAIN_SECONDS:
            shown = now
            log(
                f"{title}: {done}/{len(items)}, "
                f"{duration((now - start) / done * (len(items) - done))} left"
            )
        yield item


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 12 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

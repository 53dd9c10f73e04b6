"""`ired watch`: follow a run in the terminal."""

import time

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.terminal import is_terminal


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the interval is not positive, or the folder is no run.
    """
    parser = CommandParser(
        prog="ired watch",
        description=(
            "Follow a run: step, metrics with their course, results. Ends with the run; "
            "Ctrl-C ends it before."
        ),
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="between looks (default 2)"
    )
    options = parser.parse_args(arguments)
    if not options.every > 0:
        raise InputError(f"--every is {options.every:g}; give a positive number of seconds.")
    if is_terminal():
        _live(options.run, options.every)
    else:
        _lines(options.run, options.every)
    return 0


def _live(folder: str, every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from ired_interp.commands.overview import overview
    from ired_interp.results import OpenedRun, open_run
    from ired_interp.results.state import state

    run = open_run(folder)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            now = state(run)
            live.update(overview(OpenedRun(run), now), refresh=True)
            if now != "running":
                return
            time.sleep(every)


def _lines(folder: str, every: float) -> None:
    from ired_interp.commands.overview import summary
    from ired_interp.results import OpenedRun, open_run
    from ired_interp.results.state import state

    run = open_run(folder)
    shown = ""
    while True:
        now = state(run)
        line = summary(OpenedRun(run), now)
        if line != shown:
            print(line, flush=True)
            shown = line
        if now != "running":
            return
        time.sleep(every)

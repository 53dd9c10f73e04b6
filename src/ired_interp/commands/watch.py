"""`ired watch`: follow a run in the terminal."""

import time
from dataclasses import replace
from pathlib import Path

from ired_interp.cluster.follow import follow
from ired_interp.cluster.host import Host
from ired_interp.cluster.submission import JOBS, submissions
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
            "Ctrl-C ends it before. Of a run that a job has yet to begin, what that job waits for."
        ),
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="between looks (default 2)"
    )
    options = parser.parse_args(arguments)
    if not options.every > 0:
        raise InputError(f"--every is {options.every:g}; give a positive number of seconds.")
    if not _begun(options.run):
        return 1
    if is_terminal():
        _live(options.run, options.every)
    else:
        _lines(options.run, options.every)
    return 0


def _begun(folder: str) -> bool:
    """Wait until the job that has yet to make a run has begun; False if it fails instead."""
    path = Path(folder).absolute()
    if path.exists() or not Path(JOBS).is_dir():
        return True
    host = Host()
    recorded = submissions(host, str(Path.cwd()))
    jobs = [(one, task) for one in recorded for task in one.tasks if task.run == str(path)]
    return not jobs or follow(host, replace(jobs[-1][0], tasks=(jobs[-1][1],)))


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

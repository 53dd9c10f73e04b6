"""`ired status`, `logs`, `cancel` and `fetch`: what becomes of submitted jobs."""

import argparse
import time
from codecs import getincrementaldecoder
from pathlib import Path

from rich.table import Table

from ired_interp.cluster.efficiency import efficiency
from ired_interp.cluster.follow import Ending, describe, pauses, waiting_reason
from ired_interp.cluster.host import Host, connect
from ired_interp.cluster.job import project_profile
from ired_interp.cluster.repository import find_repository
from ired_interp.cluster.slurm import UNREACHABLE, cancel
from ired_interp.cluster.submission import (
    Submission,
    SubmittedTask,
    folder_on,
    select_tasks,
    submissions,
    task_states,
)
from ired_interp.cluster.symptoms import diagnose
from ired_interp.cluster.transfer import fetch
from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError, RunError
from ired_interp.terminal import log, render

_NEWEST = 20  # jobs shown where none is named
_RUNS = "runs"

Pairs = list[tuple[Submission, SubmittedTask]]


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    options = _parser(command).parse_args(arguments)
    profile = project_profile(find_repository(Path.cwd()), options.profile, {})
    with connect(profile) as host:
        folder = folder_on(host, profile, str(Path.cwd()))
        if command == "fetch":
            return _fetch(host, folder, options)
        pairs = select_tasks(submissions(host, folder), options.job)
        if command == "status":
            return _status(host, folder, pairs, options.job)
        return _logs(host, pairs, options.follow) if command == "logs" else _cancel(host, pairs)


def _parser(command: str) -> argparse.ArgumentParser:
    descriptions = {
        "status": (
            "State, step and log of submitted jobs; of failed ones the likely cause. "
            "Without a name, of the newest."
        ),
        "logs": "Print the log of a job or run; with -f follow it until the job ends.",
        "cancel": "Cancel a job, an array task or the job of a run. What it has saved stays.",
        "fetch": (
            "Copy runs from the cluster to this machine, as they are now; again, and only "
            "what is new comes."
        ),
    }
    parser = CommandParser(prog=f"ired {command}", description=descriptions[command])
    parser.add_argument(
        "--profile",
        default="default",
        metavar="NAME",
        help="file of slurm/profiles/ (default: default)",
    )
    what = "number of a job, of an array task (12_3), a run's folder or a run's name"
    if command == "status":
        parser.add_argument("job", nargs="?", metavar="JOB|RUN", help=what)
    elif command == "fetch":
        parser.add_argument("job", nargs="+", metavar="JOB|RUN", help=what)
        parser.add_argument(
            "--to", default=_RUNS, metavar="FOLDER", help="where runs go here (default: runs)"
        )
    else:
        parser.add_argument("job", metavar="JOB|RUN", help=what)
    if command == "logs":
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    return parser


def _status(host: Host, folder: str, pairs: Pairs, wanted: str | None) -> int:
    if not pairs:
        print(f"no jobs were submitted from {folder}")
        return 0
    shown = pairs if wanted else _newest(pairs)
    states = task_states(host, shown)
    table = Table()
    for heading in ("job", "name", "state", "step", "run", "log"):
        table.add_column(heading, overflow="fold")
    notes = []
    for one, task in shown:
        state = states[task]
        name = f"{one.name} {task.label}".strip()
        run, log = (path.removeprefix(f"{folder}/") for path in (task.run or "–", task.log))
        word = "not known" if state.word == UNREACHABLE else state.word.lower()
        table.add_row(task.job or "–", name, word, _step(host, task), run, log)
        if state.failed:
            log = host.tail(task.log)
            notes.append(f"{task.job or name}: {describe(diagnose(state, log))}")
        elif state.reason:
            notes.append(f"{task.job or name}: {waiting_reason(one, state)}")
    print(render(table), end="")
    for note in notes:
        print(note)
    if wanted:
        for one in dict.fromkeys(one for one, _ in shown):
            ended = [task for other, task in shown if other is one and states[task].ended]
            if ended and one.job:
                print(efficiency(host, one, ended))
    if len(shown) < len(pairs):
        print(f"and {len(pairs) - len(shown)} older; name a job or run to see it")
    return 0


def _newest(pairs: Pairs) -> Pairs:
    jobs = list(dict.fromkeys(one.folder for one, _ in pairs))[-_NEWEST:]
    return [(one, task) for one, task in pairs if one.folder in jobs]


def _step(host: Host, task: SubmittedTask) -> str:
    """Return the last step in the log of a training."""
    if task.arguments[0] != "fit":
        return "–"
    lines = host.tail(task.log).splitlines()
    steps = [line.split()[1] for line in lines if line.startswith("step ")]
    return steps[-1] if steps else "–"


def _logs(host: Host, pairs: Pairs, follow: bool) -> int:
    _, task = pairs[-1]
    if len(pairs) > 1:
        log(f"{len(pairs)} logs fit; this is the newest, of {task.job} {task.label}")
    position = 0
    decoder = getincrementaldecoder("utf-8")("replace")  # what is new may begin inside a character
    pause, ending = pauses(), Ending()
    while True:
        ended = not follow or ending(task_states(host, pairs[-1:])[task])
        new = host.read_from(task.log, position)
        if new is None:
            raise InputError(
                f"log {task.log} does not exist on {host.name}; was its folder removed?"
            )
        print(decoder.decode(new, final=ended), end="", flush=True)
        position += len(new)
        if ended:
            return 0
        if new:
            pause = pauses()
        time.sleep(next(pause))


def _cancel(host: Host, pairs: Pairs) -> int:
    states = task_states(host, pairs)
    active = [(one.cluster, task.job) for one, task in pairs if states[task].active]
    unknown = [(task, state) for task, state in states.items() if state.word == UNREACHABLE]
    if unknown:
        task, state = unknown[0]
        raise RunError(
            f"whether {task.job or task.run or task.log} runs is not known ({state.reason}); "
            "nothing was cancelled: try again later."
        )
    if not active:
        ended = ", ".join(f"{t.job or t.log} ({s.word.lower()})" for t, s in states.items())
        raise InputError(f"nothing to cancel: {ended} has ended already.")
    for cluster in dict.fromkeys(cluster for cluster, _ in active):
        cancel(host, [job for there, job in active if there == cluster], cluster)
    print(f"cancelled {', '.join(job for _, job in active)}")
    return 0


def _fetch(host: Host, folder: str, options: argparse.Namespace) -> int:
    from ired_interp.results import Run
    from ired_interp.results.choice import choice_of

    recorded = submissions(host, folder)
    for wanted in options.job:
        for run in _runs(host, folder, recorded, wanted):
            place = fetch(host, run, Path(options.to), f"{folder}/{_RUNS}")
            if choice := choice_of(Run(place)):
                log(choice.sentence())
            print(place)
    return 0


def _runs(host: Host, folder: str, recorded: list[Submission], wanted: str) -> list[str]:
    """Find the runs on the host that a job, a run's name or a path means."""
    for path in (wanted, f"{folder}/{wanted}", f"{folder}/{_RUNS}/{wanted}"):
        if path.startswith("/") and host.exists(f"{path}/config.yaml"):
            return [path]
    return list(dict.fromkeys(task.run for _, task in select_tasks(recorded, wanted) if task.run))

"""The dry run of a job: its very commands, made small, on a CPU, before anything is queued.

    python -m ired_interp.rehearsal < request.json

reads {"tasks": [["fit", "--config", …], …], "ranks": 2, "thorough": false, "runs_to_come": {}},
each task being the arguments of one `ired` command, and prints one JSON object a line: {"check",
"task", "ok", "found", "remedy"}, and once a task is configured {"facts", "task"}. A check that
fails ends its task. The exit code is 0 if all is well and 2 otherwise. Nothing is written but into
a temporary folder. A training that differs from one that passed only in its seed and the like (see
`alike`) is configured and no more: of a large array, a few are rehearsed. Where a task starts from
a run that another job has yet to make, "runs_to_come" names that run and the arguments of its
`ired fit`, which is then made small first.

fit         configuration   parses and builds as `ired fit` does; the ranks can share a batch
            checkpoint      (--resume) is read weights-only, fits, and has steps left to do
            problems        are finite tensors of the shapes and type that the model takes
            energy          is one finite scalar per row in every landscape, of that row alone
            gradient        has y's shape, is finite, agrees with autograd and a central difference
            training        takes 3 steps with every callback and logger; probes measure; the
                            checkpoint that was written loads
            probe           each probe of the callbacks measures it, as `ired probe` does
            memory          (thorough) does not grow from step to step
            gpu             (thorough) how busy a GPU is with full batches, where there is one
probe       arguments       parse; the probes they name can be built
            checkpoint      exists, is read weights-only, and fits model and data
            problems, energy, gradient, memory as above
            probes          each measures a few problems
test,       arguments       are options of the command
validate    checkpoint      exists, is read weights-only, and fits model and data
            problems        as above
            evaluation      of a few problems
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ired_interp.lightning_cli import quiet
from ired_interp.rehearsal.alike import Alike
from ired_interp.rehearsal.evaluation import EvaluationRehearsal
from ired_interp.rehearsal.fault import explain
from ired_interp.rehearsal.fit import FitRehearsal
from ired_interp.rehearsal.probe import ProbeRehearsal
from ired_interp.rehearsal.runs_to_come import RunsToCome
from ired_interp.rehearsal.task import TaskRehearsal

_KINDS: dict[str, type[TaskRehearsal]] = {
    "fit": FitRehearsal,
    "probe": ProbeRehearsal,
    "test": EvaluationRehearsal,
    "validate": EvaluationRehearsal,
}


def rehearse(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Go through the checks of every task.

    Parameters
    ----------
    request : dict[str, Any]
        {"tasks": lists of arguments, "ranks": processes of the job, "thorough": bool,
        "runs_to_come": arguments of the training of each run that tasks start from}.

    Yields
    ------
    dict[str, Any]
        One mapping per check, and one with the facts of each task that is configured, as the
        module's text says.
    """
    quiet()
    alike = Alike()
    with tempfile.TemporaryDirectory(prefix="ired-rehearsal-") as common:
        runs = RunsToCome(request.get("runs_to_come", {}), Path(common))
        for number, (command, *arguments) in enumerate(request["tasks"]):
            with tempfile.TemporaryDirectory(prefix="ired-rehearsal-") as folder:
                for line in _task(number, command, arguments, Path(folder), request, alike, runs):
                    yield {**line, "task": number}


def _task(
    number: int,
    command: str,
    arguments: list[str],
    folder: Path,
    request: dict[str, Any],
    alike: Alike,
    runs: RunsToCome,
) -> Iterator[dict[str, Any]]:
    if command not in _KINDS:
        found = f"{command!r} is no command of a job"
        yield {
            "check": "arguments",
            "ok": False,
            "found": found,
            "remedy": f"choose one of {', '.join(_KINDS)}",
        }
        return
    try:
        arguments = runs.within(arguments)
    except (Exception, SystemExit) as error:
        found, remedy = explain(error)
        yield {"check": "checkpoint", "ok": False, "found": found, "remedy": remedy}
        return
    rehearsal = _KINDS[command](command, arguments, folder, request["ranks"])
    configuration = None
    for check in rehearsal.checks(request["thorough"]):
        try:
            found = check.run()
        except (Exception, SystemExit) as error:
            found, remedy = explain(error)
            yield {"check": check.name, "ok": False, "found": found, "remedy": remedy}
            return
        yield {"check": check.name, "ok": True, "found": found, "remedy": ""}
        if facts := rehearsal.new_facts():
            yield {"facts": facts}
            configuration = rehearsal.configuration_text()
            if configuration and (other := alike.to(configuration)):
                yield {"check": "dry run", "ok": True, "found": other, "remedy": ""}
                return
    if configuration:
        alike.add(number, configuration)

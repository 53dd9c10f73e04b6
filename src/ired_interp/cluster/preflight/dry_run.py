"""A dry run of the very job on this machine: its commit in a fresh clone, a tiny batch, the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ired_interp.cluster.host import Host, last_line
from ired_interp.cluster.job import PREPARE, read_part
from ired_interp.cluster.preflight.check import Check, check_name
from ired_interp.cluster.preflight.source import CLONE_SECONDS
from ired_interp.cluster.site import Site
from ired_interp.cluster.tasks import JobTask, options
from ired_interp.cluster.transfer import copy
from ired_interp.errors import InputError

_LAST = "checkpoints/last.ckpt"
REHEARSAL = "ired_interp.rehearsal"  # the program that is started, with the request on its input


def dry_run_checks(
    site: Site,
    tasks: Sequence[JobTask],
    thorough: bool,
    facts: dict[int, dict[str, Any]],
    to_come: Mapping[str, Sequence[str]],
) -> Iterator[Check]:
    """Rehearse every task.

    Parameters
    ----------
    site : Site
        Whose commit is rehearsed.
    tasks : Sequence[JobTask]
        As they were asked for.
    thorough : bool
        Measure memory and GPU use, too.
    facts : dict
        Filled with what each task's rehearsal reports of it, by the task's index.
    to_come : Mapping[str, Sequence[str]]
        Runs that other jobs may have yet to make, each with the arguments of its training.

    Yields
    ------
    Check
        As they are made.
    """
    with tempfile.TemporaryDirectory(prefix="ired-rehearsal-") as temporary:
        source = f"{temporary}/source"
        arguments = ["source", str(site.repository.root), site.repository.commit, source]
        script = read_part(site.repository, PREPARE)
        done = Host().run("bash", "-c", script, "prepare.sh", *arguments, seconds=CLONE_SECONDS)
        if done.returncode:
            found = last_line(done.stderr)
            yield Check("fresh clone", False, found, "repair the repository: git fsck")
            return
        local = []
        missing = [run for run in to_come if not site.host.exists(f"{run}/{_LAST}")]
        to_come = {run: to_come[run] for run in missing}
        for task in tasks:
            try:
                checkpoints = Path(temporary, "checkpoints")
                local.append(_with_local_checkpoints(site.host, task, checkpoints, missing))
            except InputError as error:
                yield Check(check_name("checkpoint", task), False, str(error))
        if len(local) == len(tasks):
            yield from _rehearse(site, Path(source), local, thorough, facts, to_come)


def _with_local_checkpoints(
    host: Host, task: JobTask, temporary: Path, to_come: Sequence[str]
) -> JobTask:
    """Find a task's checkpoints on the host, and copy them here if that is another machine.

    Those of runs to come are left as they are.

    Raises
    ------
    InputError
        If a checkpoint does not exist there.
    """
    arguments = list(task.arguments)
    for name, value in options(task.arguments):
        if name not in ("--ckpt", "--resume") or _is_of(value, to_come):
            continue
        if not host.exists(value):
            raise InputError(
                f"checkpoint {value} does not exist on {host.name}; check the path "
                "(`ired runs` lists runs)."
            )
        if host.address is not None:
            place = temporary / f"{len(list(temporary.glob('*')))}"
            place.mkdir(parents=True)
            _copy_checkpoint(host, value, place)
            arguments = [word.replace(value, str(place / Path(value).name)) for word in arguments]
    return replace(task, arguments=tuple(arguments))


def _is_of(path: str, runs: Sequence[str]) -> bool:
    return any(path == run or path.startswith(f"{run}/") for run in runs)


def _copy_checkpoint(host: Host, path: str, to: Path) -> None:
    """Copy a checkpoint, or of a run's folder what restores it, into the folder `to`."""
    what = [f"{host.address}:{path}", f"{to}/"]
    if host.run("test", "-d", path).returncode == 0:
        parts = (
            "config.yaml",
            "checkpoints/",
            "checkpoints/last.ckpt",
            "checkpoints/best-*.ckpt",
            "metrics/",
            "metrics/version_*/",
            "metrics/version_*/metrics.csv",  # which say what checkpoint is the best
        )
        what = [
            *(f"--include={part}" for part in parts),
            "--exclude=*",
            f"{host.address}:{path}/",
            f"{to / Path(path).name}/",
        ]
    copy(host, *what)


def _rehearse(
    site: Site,
    source: Path,
    tasks: Sequence[JobTask],
    thorough: bool,
    facts: dict[int, dict[str, Any]],
    to_come: Mapping[str, Sequence[str]],
) -> Iterator[Check]:
    request = {
        "tasks": [task.arguments for task in tasks],
        "ranks": site.profile.ranks,
        "thorough": thorough,
        "runs_to_come": to_come,
    }
    with tempfile.TemporaryFile("w+") as errors:
        project = source / site.repository.project_prefix
        process = _start(project, source / site.repository.prefix, site.folder, errors)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        for line in process.stdout:
            content = json.loads(line)
            task = tasks[content["task"]]
            if "facts" in content:
                facts[task.index] = content["facts"]
            else:
                name = check_name(content["check"], task)
                yield Check(name, content["ok"], content["found"], content["remedy"])
        if process.wait() not in (0, 2):
            errors.seek(0)
            found = f"it broke off: {last_line(errors.read())}"
            remedy = "run the command here with --debug to see the traceback"
            yield Check("dry run", False, found, remedy)


def _start(project: Path, folder: Path, own: str, errors: IO[str]) -> subprocess.Popen[str]:
    """Start the rehearsal with the project's modules in the clone before those installed here."""
    path = filter(None, (f"{project}/src", str(project), os.environ.get("PYTHONPATH")))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    outside["IRED_PROJECT"] = own  # as in the job
    return subprocess.Popen(
        [sys.executable, "-m", REHEARSAL],
        cwd=folder,
        env={**outside, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )

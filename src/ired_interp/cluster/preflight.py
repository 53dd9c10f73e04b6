"""Everything that can be known to fail before a job is queued."""

from __future__ import annotations

import json
import os
import posixpath
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ired_interp.cluster.host import Host, last_line
from ired_interp.cluster.job import (
    PREPARE,
    REQUIREMENTS,
    Job,
    lock_digest,
    read_part,
    requirements,
    trainer_options,
)
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.slurm import partition_limit, test_request
from ired_interp.cluster.submission import JOBS, choose, submissions, task_states
from ired_interp.cluster.tasks import Task, options
from ired_interp.cluster.transfer import copy
from ired_interp.errors import InputError

_SIGNAL_AT_LEAST = 30  # seconds: the step under way is finished and the state saved
_LIMIT_OVER_SIGNAL = 4
_CLONING = 600  # seconds after which a clone counts as not answering


@dataclass(frozen=True)
class Check:
    """What was checked, whether it is well, what was found, and what to do if it is not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass
class Preflight:
    """The checks of a job, and what they find out on the way.

    Attributes
    ----------
    folder : where runs/ and jobs/ lie on the host, absolute.
    tasks : as they were asked for. facts : of each task by its index, as its rehearsal reported them (experiment, name, devices …).
    thorough : measure memory and GPU use, too.
    """

    host: Host
    profile: Profile
    repository: Repository
    folder: str
    tasks: list[Task]
    thorough: bool = False
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    name: str = field(default_factory=lambda: time.strftime("%Y-%m-%d_%H-%M-%S"))

    def checks(self) -> Iterator[Check]:
        """All checks that can be made, whatever fails."""
        committed = True
        for check in self._repository_checks():
            committed &= check.ok
            yield check
        if committed:
            yield from self._rehearsal_checks()
        yield from self._request_checks()
        yield self._time_check()
        yield self._folder_check()
        if not committed:
            return
        if len(self.facts) == len(self.tasks):
            yield from self._run_checks()
        yield self._environment_check()
        yield self._slurm_check()

    def job(self) -> Job:
        """The job that was checked."""
        tasks = self._placed_tasks()
        name = _job_name(tasks, self.name)
        return Job(
            name=name,
            tasks=tuple(tasks),
            profile=self.profile,
            folder=f"{self.folder}/{JOBS}/{self.name}",
            remote=self.remote,
            commit=self.repository.commit,
            prefix=self.repository.prefix,
            source=self.source,
            environment=self.environment,
        )

    @cached_property
    def environment(self) -> str:
        """The virtual environment of the job on the host."""
        if self.profile.environment is not None:
            return self.host.expand(self.profile.environment).rstrip("/")
        return f"{self.scratch}/environments/{lock_digest(self.repository.root, self.profile)}"

    @property
    def source(self) -> str:
        """The clone of the commit on the host."""
        return f"{self.scratch}/sources/{self.repository.commit}"

    @cached_property
    def scratch(self) -> str:
        """The cache for sources and environments on the host."""
        return self.host.expand(self.profile.scratch).rstrip("/")

    @cached_property
    def remote(self) -> str:
        """What the job clones."""
        return self.profile.remote or self.repository.remote()

    def _repository_checks(self) -> Iterator[Check]:
        """What is committed, and whether the cluster can clone it."""
        missed = self.repository.uncommitted(
            [word for task in self.tasks for word in task.arguments]
        )
        if missed:
            shown = ", ".join(missed[:8]) + (
                f" and {len(missed) - 8} more" if len(missed) > 8 else ""
            )
            yield Check(
                "committed",
                False,
                f"the job needs files that are not committed: {shown}",
                "git add, git commit, git push",
            )
        try:
            commit = self.repository.commit
        except InputError as error:
            yield Check("committed", False, str(error))
            return
        if not missed:
            yield Check("committed", True, f"all that the job needs is in commit {commit[:10]}")
        try:
            yield self._on_remote(commit, self.remote)
        except InputError as error:
            yield Check("on the remote", False, str(error))

    def _on_remote(self, commit: str, remote: str) -> Check:
        done = self.host.run(
            *self.preparing("source", remote, commit, self.source), seconds=_CLONING
        )
        if done.returncode == 0:
            return Check(
                "on the remote", True, f"{self.host.name} cloned commit {commit[:10]} from {remote}"
            )
        if any(
            text in done.stderr
            for text in (
                "not our ref",
                "remote ref",
                "unable to read tree",
                "did not match any",
                "pathspec",
            )
        ):
            return Check(
                "on the remote",
                False,
                f"commit {commit[:10]} is not on {remote}",
                "git push, then submit again",
            )
        return Check(
            "on the remote",
            False,
            f"{self.host.name} cannot clone {remote}: {last_line(done.stderr)}",
            "give it access, or set remote in the profile to a URL that the cluster reaches",
        )

    def preparing(self, *arguments: str) -> list[str]:
        """The command that runs slurm/prepare.sh on the host."""
        return [
            *self._with_modules(read_part(self.repository.root, PREPARE)),
            "prepare.sh",
            *arguments,
        ]

    def _with_modules(self, script: str) -> list[str]:
        """The command that runs a script on the host with the profile's modules loaded."""
        modules = "".join(f"module load {module}\n" for module in self.profile.modules)
        return ["bash", "-lc" if modules else "-c", modules + script]

    def _rehearsal_checks(self) -> Iterator[Check]:
        """A dry run of the very job: its commit in a fresh clone, its configuration, a tiny batch on the CPU."""
        with tempfile.TemporaryDirectory(prefix="ired-rehearsal-") as temporary:
            source = f"{temporary}/source"
            arguments = ["source", str(self.repository.root), self.repository.commit, source]
            script = read_part(self.repository.root, PREPARE)
            done = Host().run("bash", "-c", script, "prepare.sh", *arguments, seconds=_CLONING)
            if done.returncode:
                yield Check(
                    "fresh clone", False, last_line(done.stderr), "repair the repository: git fsck"
                )
                return
            tasks = []
            for task in self.tasks:
                try:
                    tasks.append(
                        self._with_local_checkpoints(task, Path(temporary) / "checkpoints")
                    )
                except InputError as error:
                    yield Check(_named("checkpoint", task), False, str(error))
            if len(tasks) == len(self.tasks):
                yield from self._rehearse(Path(source), tasks)

    def _with_local_checkpoints(self, task: Task, temporary: Path) -> Task:
        """Look for the checkpoints of a task on the host, and copy them here if that is another machine."""
        arguments = list(task.arguments)
        for name, value in options(task.arguments):
            if name not in ("--ckpt", "--resume"):
                continue
            if not self.host.exists(value):
                raise InputError(
                    f"checkpoint {value} does not exist on {self.host.name}; check the path (`ired runs` lists runs)."
                )
            if self.host.address is not None:
                place = temporary / f"{len(list(temporary.glob('*')))}"
                place.mkdir(parents=True)
                _copy_checkpoint(self.host, value, place)
                arguments = [
                    word.replace(value, str(place / Path(value).name)) for word in arguments
                ]
        return replace(task, arguments=tuple(arguments))

    def _rehearse(self, source: Path, tasks: Sequence[Task]) -> Iterator[Check]:
        request = {
            "tasks": [task.arguments for task in tasks],
            "ranks": self.profile.ranks,
            "thorough": self.thorough,
        }
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "PYTHONPATH": os.pathsep.join(
                filter(None, (f"{source}/src", str(source), os.environ.get("PYTHONPATH")))
            ),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "ired_interp.rehearsal"],
                cwd=source / self.repository.prefix,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                content = json.loads(line)
                task = self.tasks[content["task"]]
                if "facts" in content:
                    self.facts[task.index] = content["facts"]
                else:
                    yield Check(
                        _named(content["check"], task),
                        content["ok"],
                        content["found"],
                        content["remedy"],
                    )
            if process.wait() not in (0, 2):
                errors.seek(0)
                shown = last_line(errors.read())
                yield Check(
                    "dry run",
                    False,
                    f"it broke off: {shown}",
                    "run the command here with --debug to see the traceback",
                )

    def _request_checks(self) -> Iterator[Check]:
        """Whether the request fits the configuration."""
        profile = self.profile
        if profile.gpus and profile.tasks != profile.gpus:
            yield Check(
                "request",
                False,
                f"profile {profile.name} asks for {profile.gpus} GPUs and {profile.tasks} tasks on a node",
                "set tasks to the number of gpus: each process drives one",
            )
            return
        wrong = [sentence for task in self.tasks for sentence in self._misfits(task)]
        for sentence in dict.fromkeys(wrong):
            yield Check(
                "request",
                False,
                sentence,
                "change the profile or the configuration, so that they agree",
            )
        if not wrong:
            gpus = f", {profile.gpus} GPUs each" if profile.gpus else ""
            processes = f"{profile.ranks} process{'es' if profile.ranks > 1 else ''}"
            yield Check(
                "request",
                True,
                f"{profile.nodes} × {profile.tasks} tasks{gpus} for {processes} of the configuration",
            )

    def _misfits(self, task: Task) -> Iterator[str]:
        facts, profile = self.facts.get(task.index, {}), self.profile
        devices, nodes = facts.get("devices", "auto"), facts.get("num_nodes", 1)
        count = len(devices) if isinstance(devices, list) else devices
        if count not in ("auto", -1, "-1", 1, "1", profile.tasks, str(profile.tasks)):
            yield f"trainer.devices is {devices}, but profile {profile.name} has {profile.tasks} tasks on a node"
        if nodes not in (1, profile.nodes):
            yield f"trainer.num_nodes is {nodes}, but profile {profile.name} has {profile.nodes} nodes"
        accelerator = facts.get("accelerator", "auto")
        if accelerator == "cpu" and profile.gpus:
            yield f"trainer.accelerator is cpu, but profile {profile.name} asks for {profile.gpus} GPUs"
        if accelerator in ("gpu", "cuda") and not profile.gpus:
            yield f"trainer.accelerator is {accelerator}, but profile {profile.name} asks for no GPU"

    def _time_check(self) -> Check:
        """Whether there is time to save before the limit."""
        profile = self.profile
        found = f"time limit {profile.time}, and {profile.signal} s before it the job saves and is queued again"
        if profile.signal < _SIGNAL_AT_LEAST:
            return Check(
                "time",
                False,
                found,
                f"raise signal to {_SIGNAL_AT_LEAST} or more: a step is finished and saved in it",
            )
        if profile.seconds < _LIMIT_OVER_SIGNAL * profile.signal:
            return Check(
                "time",
                False,
                found,
                f"raise time to {_LIMIT_OVER_SIGNAL} × signal or more, or nothing gets done",
            )
        return Check("time", True, found)

    def _run_checks(self) -> Iterator[Check]:
        """Whether runs can be written without touching others."""
        recorded = submissions(self.host, self.folder)
        for task in self._placed_tasks():
            if task.command != "fit" or task.run is None:
                continue
            name = _named("run", task)
            taken = self.host.exists(task.run)
            if task.option("--resume") is None and taken:
                remedy = f"choose another --name, or go on with it: ired submit -- fit --resume {task.run}"
                yield Check(
                    name, False, f"{task.run} exists, and results are never overwritten", remedy
                )
                continue
            if active := self._active(recorded, task.run):
                yield Check(
                    name,
                    False,
                    f"job {active} works on {task.run} already",
                    f"wait for it, or: ired cancel {active}",
                )
                continue
            yield Check(name, True, f"{'goes on in' if taken else 'results will be in'} {task.run}")

    def _active(self, recorded: list[Any], run: str) -> str | None:
        try:
            pairs = choose(recorded, run)
        except InputError:
            return None
        return next(
            (job for job, state in task_states(self.host, pairs).items() if state.active), None
        )

    def _environment_check(self) -> Check:
        """Whether the job's environment is there or can be made."""
        profile = self.profile
        if profile.environment is not None:
            program = f"{self.environment}/bin/ired"
            done = self.host.run(program, "--version") if self.host.exists(program) else None
            if done is None or done.returncode:
                found = (
                    "does not exist" if done is None else f"does not run: {last_line(done.stderr)}"
                )
                return Check(
                    "environment",
                    False,
                    f"{program} {found}",
                    "correct environment in the profile, or leave it out to have one made",
                )
            return Check("environment", True, f"{self.environment} has {done.stdout.strip()}")
        if self.host.exists(f"{self.environment}/ready"):
            return Check("environment", True, f"{self.environment} is ready for this lock file")
        source = requirements(self.repository.root)
        if source is None:
            return Check(
                "environment",
                False,
                f"{self.repository.root} has neither {' nor '.join(REQUIREMENTS)} to make one from",
                "write requirements.txt with the line that installs ired-interp, or set "
                "environment in the profile",
            )
        asked = f'{profile.python} -c "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"'
        done = self.host.run(*self._with_modules(asked))
        if done.returncode:
            found = last_line(done.stderr) or f"{profile.python} is older than Python 3.10"
            return Check(
                "environment",
                False,
                f"no environment can be made: {found}",
                "correct python or modules in the profile",
            )
        return Check(
            "environment", True, f"{self.environment} will be made of {source}, once for this lock"
        )

    def _folder_check(self) -> Check:
        """Whether scripts, logs and runs can be written to where they stay."""
        done = self.host.run(
            "bash", "-c", 'mkdir -p "$1" && test -w "$1"', "make", f"{self.folder}/{JOBS}"
        )
        if done.returncode:
            found = f"{self.folder}/{JOBS} cannot be written on {self.host.name} {last_line(done.stderr)}".strip()
            return Check(
                "folder", False, found, "set folder in the profile to an absolute path that can"
            )
        return Check(
            "folder",
            True,
            f"script and log will be in {self.folder}/{JOBS}, runs stay in {self.folder}",
        )

    def _slurm_check(self) -> Check:
        """Whether SLURM would take the request."""
        if refused := test_request(self.host, self.job().script(self.repository.root)):
            return Check(
                "SLURM",
                False,
                f"it refuses the request: {refused}",
                f"correct profile {self.profile.name}",
            )
        limit = partition_limit(self.host, self.profile.partition)
        if limit is not None and self.profile.seconds > limit:
            found = f"the time limit {self.profile.time} is above the partition's, {limit // 60} min; the job would wait for ever"
            return Check(
                "SLURM", False, found, "lower time in the profile, or take another partition"
            )
        partition = (
            f"in partition {self.profile.partition}"
            if self.profile.partition
            else "in the default partition"
        )
        return Check("SLURM", True, f"it would take the request {partition}")

    def _placed_tasks(self) -> list[Task]:
        """The tasks with the options that only the job knows: where the run lies, its name, and how many processes it has."""
        placed = []
        for task in self.tasks:
            facts = self.facts.get(task.index, {})
            if task.command == "fit" and task.option("--resume") is None:
                own = facts.get("name") or self.name
                called = f"{own}-{task.label}" if task.label else own
                runs = posixpath.join(self.folder, facts.get("runs", "runs"))
                task = replace(task, run=f"{runs}/{facts.get('experiment', 'default')}/{called}")
                task = task.with_options("--runs", runs, "--name", called)
            else:
                checkpoint = task.option("--resume") or task.option("--ckpt")
                task = replace(task, run=_run_of(checkpoint) if checkpoint else None)
            placed.append(
                task
                if task.command == "probe"
                else task.with_options(*trainer_options(self.profile))
            )
        return placed


def _job_name(tasks: Sequence[Task], name: str) -> str:
    """Experiment and run, and what is done with it if that is not training."""
    first = tasks[0]
    run = "/".join(Path(first.run).parts[-2:]) if first.run else name
    run = run.removesuffix(f"-{first.label}") if first.label else run
    return run if first.command == "fit" else f"{first.command}:{run}"


def _named(check: str, task: Task) -> str:
    return f"{check} [{task.label}]" if task.label else check


def _run_of(checkpoint: str) -> str:
    path = Path(checkpoint)
    return str(path.parent.parent if path.suffix in (".ckpt", ".pt") else path)


def _copy_checkpoint(host: Host, path: str, to: Path) -> None:
    """Copy a checkpoint, or of a run's folder what it takes to restore it, into the folder `to`."""
    what = [f"{host.address}:{path}", f"{to}/"]
    if host.run("test", "-d", path).returncode == 0:
        parts = ("config.yaml", "checkpoints/", "checkpoints/last.ckpt")
        what = [
            *(f"--include={part}" for part in parts),
            "--exclude=*",
            f"{host.address}:{path}/",
            f"{to / Path(path).name}/",
        ]
    copy(host, *what)

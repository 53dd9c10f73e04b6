"""The job script: the project's template, filled in."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from ired_interp.cluster.chain import Chain
from ired_interp.cluster.profile import PROFILES, Profile, load_profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError
from ired_interp.shipped import shipped

TEMPLATE = "slurm/job.sbatch"
PREPARE = "slurm/prepare.sh"
# What decides what is in an environment: prepare.sh installs what the first of these names that
# the project has, in the versions of constraints.txt.
REQUIREMENTS = ("requirements.txt", "pyproject.toml")
LOCK = (*REQUIREMENTS, "constraints.txt", "uv.lock")


@dataclass(frozen=True)
class Job:
    """Everything that a job script says; paths are absolute and on the cluster.

    Attributes
    ----------
    name : str
        Experiment and run.
    tasks : tuple[JobTask, ...]
        Its commands.
    profile : Profile
        Its request.
    folder : str
        Where its script, record and logs lie.
    remote, commit : str
        What it clones.
    prefix, project : str
        Folders in it, as in "" or "projects/mine/": where it runs, and whose code it runs.
    source, environment : str
        Where the clone and the virtual environment are cached for later jobs.
    after : Chain
        The jobs that it waits for.
    launcher : tuple[str, ...]
        The command that starts its processes in a container or a conda environment.
    helper : str
        The script of slurm/ that it has as its prepare.sh.
    """

    name: str
    tasks: tuple[JobTask, ...]
    profile: Profile
    folder: str
    remote: str
    commit: str
    prefix: str
    project: str
    source: str
    environment: str
    after: Chain = field(default_factory=Chain)
    launcher: tuple[str, ...] = ()
    helper: str = PREPARE

    def log(self, task: JobTask) -> str:
        """Where the output of a task is written."""
        return (
            f"{self.folder}/log-{task.index}.txt"
            if len(self.tasks) > 1
            else f"{self.folder}/log.txt"
        )

    @property
    def array(self) -> str:
        """The indices of its tasks and how many run at a time, as SLURM writes them: 0-3,7%2."""
        indices = sorted(task.index for task in self.tasks)
        ranges: list[list[int]] = []
        for index in indices:
            if ranges and index == ranges[-1][-1] + 1:
                ranges[-1].append(index)
            else:
                ranges.append([index])
        parts = [str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in ranges]
        limit = self.profile.array_limit
        return ",".join(parts) + (f"%{limit}" if limit else "")

    def script(self, repository: Repository) -> str:
        """Return the script, from the template of the project, else the shipped one.

        Raises
        ------
        InputError
            If the template is not valid, or leaves out what the profile asks for.
        """
        template = part_path(repository, TEMPLATE)
        environment = jinja2.Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.filters["quote"] = shlex.quote
        try:
            text = environment.from_string(template.read_text()).render(
                job=self,
                profile=self.profile,
                log=f"{self.folder}/log-%a.txt"
                if len(self.tasks) > 1
                else f"{self.folder}/log.txt",
                resumed={
                    task.index: resumed(task, self.profile)
                    for task in self.tasks
                    if task.command == "fit"
                },
            )
        except jinja2.TemplateError as error:
            raise InputError(
                f"template {template} is not valid: {error}; compare it with ired-interp's."
            ) from None
        for line in self._requested():
            if line not in text:
                raise InputError(
                    f"template {template} leaves out {line}, which the job asks for; compare it "
                    "with ired-interp's."
                )
        return text

    def _requested(self) -> list[str]:
        """Return what a template that was written for less may lack."""
        profile = self.profile
        settings = {"qos": profile.qos, "gres": profile.gres, "mail-user": profile.mail}
        lines = [f"--{name}={value}" for name, value in settings.items() if value]
        lines += [f"--array={self.array}"] if len(self.tasks) > 1 else []
        return lines + ([shlex.join(self.launcher)] if self.launcher else [])


def trainer_options(profile: Profile) -> tuple[str, ...]:
    """Return what tells Lightning how many processes the job has."""
    return ("--trainer.devices", str(profile.tasks), "--trainer.num_nodes", str(profile.nodes))


def resumed(task: JobTask, profile: Profile) -> tuple[str, ...]:
    """Return the command that goes on with a task's training after a requeue."""
    if task.option("--resume"):
        return task.arguments
    return ("fit", "--resume", task.run or "", *trainer_options(profile))


def lock_digest(root: Path, profile: Profile) -> str:
    """Name the environment of the project at `root` by all that decides what is in it.

    That is the lock file, the package's own requirements and the interpreter.
    """
    made_by = () if profile.installer == "pip" else (profile.installer,)
    digest = hashlib.sha256(repr((profile.python, profile.modules, *made_by)).encode())
    for name in LOCK:
        if (root / name).is_file():
            digest.update((root / name).read_bytes())
    return digest.hexdigest()[:16]


def part_path(repository: Repository, path: str) -> Path:
    """Return where a file of the slurm/ folder is: nearest in the repository, else the shipped."""
    own = repository.holder(path)
    return own / path if own else shipped(path)


def read_part(repository: Repository, path: str) -> str:
    """Return a file of the slurm/ folder."""
    return part_path(repository, path).read_text()


def project_profile(repository: Repository, name: str, overrides: dict[str, str]) -> Profile:
    """Return a profile of the project, with single settings replaced."""
    holder = repository.holder(f"{PROFILES}/{name}.yaml")
    return load_profile(holder or repository.project, name, overrides)


def requirements(root: Path) -> str | None:
    """Return the file that says what jobs of a project install; None if there is none."""
    return next((name for name in REQUIREMENTS if (root / name).is_file()), None)

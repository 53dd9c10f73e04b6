"""A cluster profile: what a job asks for, and where it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_type_hints

import yaml

from ired_interp.errors import InputError
from ired_interp.shipped import shipped

_OURS = {
    *(
        "--output",
        "--error",
        "--job-name",
        "--open-mode",
        "--signal",
        "--requeue",
        "--no-requeue",
        "--array",
        "--chdir",
        "--time",
    ),
    *(
        "--nodes",
        "--ntasks",
        "--ntasks-per-node",
        "--cpus-per-task",
        "--gpus-per-node",
        "--gres",
        "--partition",
        "--account",
        "--mem",
    ),
}
# Settings that may be given among the options instead.
_ALSO_OPTIONS = {"qos": {"--qos"}, "mail": {"--mail-user", "--mail-type"}}
INSTALLERS = ("pip", "uv")
PROFILES = "slurm/profiles"


@dataclass(frozen=True)
class Profile:
    """A file of slurm/profiles/; it says only what differs from the defaults.

    Attributes
    ----------
    host : str | None
        Login node to reach by ssh, as user@address or a name of ~/.ssh/config; None where this
        machine is the login node.
    ssh : str
        The ssh command with its options.
    folder : str | None
        Where runs/ and jobs/ lie on the cluster, seen by all nodes; the current folder if None
        (only without host).
    scratch : str
        Where sources and environments are kept for later jobs, seen by all nodes.
    remote : str | None
        Repository that jobs are cloned from; the URL of the git remote "origin" if None.
    environment : str | None
        A virtual environment of the cluster with ired-interp; made from the project's lock file
        if None.
    container : str | None
        An Apptainer image with ired-interp, in which the job's processes run.
    conda : str | None
        A conda environment with ired-interp, its name or path, in which they run.
    installer : str
        What makes environments: pip, or uv (from uv.lock, if the project has one).
    python : str
        The interpreter that environments are made with.
    modules : tuple[str, ...]
        Environment modules to load.
    partition, account, qos : str | None
        Of the request; the cluster's default if None.
    time : str
        Limit, as SLURM writes it (minutes, HH:MM:SS or D-HH:MM:SS).
    signal : int
        Seconds before the limit at which the job saves and goes back into the queue.
    nodes, tasks : int
        Nodes, and processes on each of them (with GPUs, one process each).
    cpus : int
        Cores of a process.
    gpus : int
        GPUs of a node.
    gres : str | None
        GPUs of a node by their kind instead, as in gpu:a100:2, or other resources of it.
    memory : str | None
        Of a node, as in 32G; the cluster's default if None.
    mail : str | None
        Address that SLURM writes to when the job has ended or failed.
    array_limit : int
        Tasks of an array that run at a time; all that fit if 0.
    requeues : int
        Times that a task may be back from the queue without a new training step before it ends.
    options : tuple[str, ...]
        Further options for sbatch, as in --constraint=a100.
    """

    name: str = "default"
    host: str | None = None
    ssh: str = "ssh"
    folder: str | None = None
    scratch: str = "~/.cache/ired"
    remote: str | None = None
    environment: str | None = None
    container: str | None = None
    conda: str | None = None
    installer: str = "pip"
    python: str = "python3"
    modules: tuple[str, ...] = ()
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str = "04:00:00"
    signal: int = 120
    nodes: int = 1
    tasks: int = 1
    cpus: int = 2
    gpus: int = 0
    gres: str | None = None
    memory: str | None = None
    mail: str | None = None
    array_limit: int = 0
    requeues: int = 5
    options: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.nodes * self.tasks

    @property
    def makes_environment(self) -> bool:
        """Whether jobs run in an environment that is made for them."""
        return self.environment is None and self.container is None and self.conda is None

    @property
    def devices(self) -> int:
        """GPUs of a node, asked for by gpus or by gres."""
        kinds = [one.split(":") for one in (self.gres or "").split(",")]
        counts = [one[-1] for one in kinds if one[0] in ("gpu", "gres/gpu")]
        return self.gpus + sum(int(count) if count.isdigit() else 1 for count in counts)

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        return seconds(self.time)


def load_profile(root: Path, name: str, overrides: dict[str, str]) -> Profile:
    """Return the profile `name` of the project at `root`, with single settings replaced.

    Without a file of its own the profile `default` is the shipped one.

    Raises
    ------
    InputError
        If there is no such profile, a key is unknown, or a value is not valid.
    """
    path = root / PROFILES / f"{name}.yaml"
    known = sorted(p.stem for p in (root / PROFILES).glob("*.yaml"))
    if not path.is_file() and name == "default":
        path = shipped(PurePosixPath(PROFILES, path.name))
    if not path.is_file():
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise InputError(
            f"profile {name!r} was looked for in {path}, but {there}; write one; `ired init slurm` "
            "brings examples."
        )
    try:
        content = (
            yaml.load(path.read_text(), Loader=yaml.BaseLoader) or {}
        )  # as written: 04:00:00 is no number
    except yaml.YAMLError as error:
        raise InputError(
            f"profile {path} is no valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(
            f"profile {path} holds {type(content).__name__}; expected a mapping of settings."
        )
    types = get_type_hints(Profile)
    settings = {}
    for key, value in {**content, **overrides}.items():
        if key not in types or key == "name":
            names = ", ".join(field.name for field in fields(Profile) if field.name != "name")
            raise InputError(f"profile {path} has {key!r}, which is no setting; there are {names}.")
        settings[key] = _value(path, key, value, types[key])
    profile = replace(Profile(name), **settings)
    _check(path, profile)
    return profile


def _value(path: Path, key: str, value: Any, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        entries = value.split() if isinstance(value, str) else value
        if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
            return tuple(entries)
        raise InputError(f"profile {path} has {key}={value!r}; expected a list of texts.")
    if not isinstance(value, str):
        raise InputError(f"profile {path} has {key}={value!r}; expected one value.")
    if kind is int:
        if not re.fullmatch(r"\d+", value):
            raise InputError(f"profile {path} has {key}={value!r}; expected a whole number.")
        return int(value)
    return None if value in ("", "null", "~") and kind is not str else value


def _check(path: Path, profile: Profile) -> None:
    for key in ("nodes", "tasks", "cpus"):
        if getattr(profile, key) < 1:
            raise InputError(
                f"profile {path} has {key}={getattr(profile, key)}; a job needs at least 1."
            )
    if profile.host and not (profile.folder or "").startswith(("/", "~", "$")):
        raise InputError(
            f"profile {path} names the host {profile.host}, but its folder is {profile.folder}; "
            "give the absolute path on the "
            "cluster in which runs/ and jobs/ shall lie."
        )
    for option in profile.options:
        if (name := option.partition("=")[0]) in _OURS or not option.startswith("--"):
            raise InputError(
                f"profile {path} has the option {option!r}; options may hold further sbatch "
                "options, as in --constraint=a100, but not "
                f"{name}, which the job's template sets."
            )
    if profile.installer not in INSTALLERS:
        raise InputError(
            f"profile {path} has installer={profile.installer!r}; choose one of "
            f"{', '.join(INSTALLERS)}."
        )
    if profile.conda and (profile.container or profile.environment):
        other = "container" if profile.container else "environment"
        raise InputError(
            f"profile {path} has conda={profile.conda} and {other}={getattr(profile, other)}; a "
            "job runs in one of them."
        )
    if profile.gpus and profile.devices > profile.gpus:
        raise InputError(
            f"profile {path} asks for GPUs twice, by gpus={profile.gpus} and gres={profile.gres}; "
            "keep one of them."
        )
    given = {option.partition("=")[0] for option in profile.options}
    for setting, names in _ALSO_OPTIONS.items():
        if getattr(profile, setting) and (twice := given & names):
            raise InputError(
                f"profile {path} has {setting}={getattr(profile, setting)} and the option "
                f"{twice.pop()}; keep one of them."
            )
    if profile.mail and "@" not in profile.mail:
        raise InputError(f"profile {path} has mail={profile.mail!r}; expected an address.")
    if seconds(profile.time) <= 0:
        raise InputError(
            f"profile {path} has time={profile.time!r}; expected a time limit above 0."
        )


def seconds(text: str) -> int:
    """Seconds of a time limit in one of SLURM's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises
    ------
    InputError
        If it is in none of them.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise InputError(f"time {text!r} is no time limit; write minutes, HH:MM:SS or D-HH:MM:SS.")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    units = [60, 1] if days is None and len(numbers) < 3 else [3600, 60, 1]
    return int(days or 0) * 86400 + sum(n * unit for n, unit in zip(numbers, units, strict=False))

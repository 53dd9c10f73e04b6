"""What a job uses on its cluster: its folder, and its cached source and environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ired_interp.cluster.chain import Chain
from ired_interp.cluster.host import Host, without_credentials
from ired_interp.cluster.job import PREPARE, Job, lock_digest, read_part
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.submission import JOBS
from ired_interp.cluster.tasks import JobTask


@dataclass(frozen=True)
class Site:
    """A repository at its commit, and the cluster that a profile describes.

    Attributes
    ----------
    host : Host
        Where SLURM's commands run.
    profile : Profile
        What a job asks for.
    repository : Repository
        What a job is cloned from.
    folder : str
        Absolute path on the host below which runs/ and jobs/ lie.
    """

    host: Host
    profile: Profile
    repository: Repository
    folder: str

    @property
    def jobs(self) -> str:
        """The folder of scripts, records and logs on the host."""
        return f"{self.folder}/{JOBS}"

    @cached_property
    def scratch(self) -> str:
        """The cache for sources and environments on the host."""
        return self.host.expand(self.profile.scratch).rstrip("/")

    @property
    def source(self) -> str:
        """The clone of the commit on the host."""
        return f"{self.scratch}/sources/{self.repository.commit}"

    @property
    def project(self) -> str:
        """The project in that clone."""
        return f"{self.source}/{self.repository.project_prefix}".rstrip("/")

    @cached_property
    def environment(self) -> str:
        """The virtual environment of the job on the host; empty where its PATH has the program."""
        if self.profile.environment is not None:
            return self.host.expand(self.profile.environment).rstrip("/")
        if not self.profile.makes_environment:
            return ""
        return f"{self.scratch}/environments/{lock_digest(self.repository.project, self.profile)}"

    @property
    def programs(self) -> str:
        """What stands before the name of a program of the environment."""
        return f"{self.environment}/bin/" if self.environment else ""

    @cached_property
    def launcher(self) -> tuple[str, ...]:
        """The command that starts another one in the profile's container or conda environment."""
        profile = self.profile
        if profile.container:
            image = profile.container
            image = image if "://" in image else self.host.expand(image)
            binds = [word for folder in (self.folder, self.scratch) for word in ("--bind", folder)]
            gpus = ["--nv"] if profile.devices else []
            return ("apptainer", "exec", *binds, *gpus, image)
        if profile.conda:
            named = "--prefix" if "/" in profile.conda else "--name"
            return ("conda", "run", "--no-capture-output", named, self.host.expand(profile.conda))
        return ()

    @cached_property
    def remote(self) -> str:
        """What the job clones."""
        return self.profile.remote or self.repository.remote()

    def job(self, name: str, tasks: Sequence[JobTask], folder: str, after: Chain) -> Job:
        """Return the job of these tasks, whose script and logs lie in a folder."""
        return Job(
            name=name,
            tasks=tuple(tasks),
            profile=self.profile,
            folder=folder,
            remote=without_credentials(self.remote),  # all may read a job's script
            commit=self.repository.commit,
            prefix=self.repository.prefix,
            project=self.repository.project_prefix,
            source=self.source,
            environment=self.environment,
            launcher=self.launcher,
            after=after,
        )

    def prepare_command(self, *arguments: str) -> list[str]:
        """Return the command that runs slurm/prepare.sh on the host."""
        script = read_part(self.repository, PREPARE)
        return [*self.shell_command(script), "prepare.sh", *arguments]

    def shell_command(self, script: str) -> list[str]:
        """Return the command that runs a script on the host with the profile's modules loaded."""
        modules = "".join(f"module load {module}\n" for module in self.profile.modules)
        return ["bash", "-lc" if modules else "-c", modules + script]

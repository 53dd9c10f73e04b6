"""A checkout with a remote, in which the program is run."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ired_interp.cli import main
from ired_interp.cluster.tasks import JobTask

_GIT = {"user.name": "Test", "user.email": "test@example.org", "init.defaultBranch": "main"}


class Project:
    """A checkout in which the program is run. root : its folder; the remote lies beside it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout

    def add(self, path: str, text: str) -> None:
        """Write a file, commit it and push it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.push()

    def push(self) -> None:
        """Commit everything and push it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        self.git("push", "--quiet", "origin", "HEAD")

    def profile(self, name: str = "default", **settings: object) -> None:
        """A profile that uses this environment, pushed with everything else."""
        own = {"environment": sys.prefix, "scratch": str(self.root.parent / "scratch"), "cpus": 1}
        self.add(
            f"slurm/profiles/{name}.yaml", yaml.safe_dump({**own, "time": "00:30:00", **settings})
        )

    def ired(self, *arguments: object) -> tuple[int, str, str]:
        """Run the program: (exit code, stdout, stderr)."""
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = self._capsys.readouterr()
        return code, output.out, output.err

    def jobs(self) -> list[Path]:
        """Folders of submitted jobs, oldest first."""
        return sorted((self.root / "jobs").glob("[!.]*/"))


def git_settings() -> dict[str, str]:
    """Variables by which git knows an author."""
    found = {"GIT_CONFIG_COUNT": str(len(_GIT))}
    for index, (key, value) in enumerate(_GIT.items()):
        found |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return found


def empty_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """An empty project below a folder, beside its remote."""
    root, remote = folder / "project", folder / "remote.git"
    root.mkdir()
    made = Project(root, capsys)
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    made.git("init", "--quiet")
    made.git("remote", "add", "origin", str(remote))
    return made


@contextmanager
def no_dry_run() -> Iterator[None]:
    """Leave out the dry run of jobs, for tests of what comes after it."""

    def facts(site: object, tasks: list[JobTask], thorough: bool, found: dict, *_: object):
        for task in tasks:
            found[task.index] = {"experiment": "quickstart", "name": task.option("--name")}
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ired_interp.cluster.preflight.preflight.dry_run_checks", facts)
        yield

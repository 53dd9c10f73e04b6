"""The git repository that a job is cloned from: what of it is committed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ired_interp.errors import InputError

# What of a project's files a job may read, whatever the command names.
_NEEDED = (".py", ".yaml", ".yml", ".toml", ".cfg", ".sbatch", ".sh")
_NEEDED_TEXTS = ("requirements.txt", "constraints.txt")
_NOT_NEEDED = ("docs/", "tests/", "benchmarks/", "runs/", "jobs/")
_PROJECT = ("slurm/profiles", "pyproject.toml", "requirements.txt")  # one of them makes a project


@dataclass(frozen=True)
class Repository:
    """A git checkout.

    Attributes
    ----------
    root : Path
        Its top folder.
    prefix : str
        The current folder below it, as in "" or "project/".
    """

    root: Path
    prefix: str

    def holder(self, path: str) -> Path | None:
        """Return the nearest folder that has a file, from the current one up to the top one."""
        here = self.root / self.prefix
        folders = [here, *here.parents]
        return next(
            (f for f in folders if (f / path).exists() and f.is_relative_to(self.root)), None
        )

    @cached_property
    def project(self) -> Path:
        """The project in the repository that the current folder belongs to; else all of it."""
        found = [folder for path in _PROJECT if (folder := self.holder(path))]
        return max(found, key=lambda folder: len(folder.parts), default=self.root)

    @property
    def project_prefix(self) -> str:
        """The project below the top folder, as in "" or "projects/mine/"."""
        relative = self.project.relative_to(self.root).as_posix()
        return "" if relative == "." else f"{relative}/"

    @property
    def commit(self) -> str:
        """The commit that is checked out.

        Raises
        ------
        InputError
            If there is none yet.
        """
        done = _git("rev-parse", "--verify", "HEAD", folder=self.root)
        if done.returncode:
            raise InputError(
                f"repository {self.root} has no commit yet; a job is cloned from one: git add, git "
                "commit, git push."
            )
        return done.stdout.strip()

    def remote(self) -> str:
        """URL of the remote "origin".

        Raises
        ------
        InputError
            If there is none.
        """
        done = _git("remote", "get-url", "origin", folder=self.root)
        if done.returncode:
            raise InputError(
                f"repository {self.root} has no remote named origin to clone from; add one (git "
                "remote add origin URL), or set remote "
                "in the profile."
            )
        return done.stdout.strip()

    def uncommitted(self, arguments: Sequence[str]) -> list[str]:
        """List the files that the job would miss or find otherwise.

        That is the project's code and settings changed or untracked, and files named by the
        arguments.

        Each as "path (changed)", "path (untracked)", "path (ignored by git)" or "path (outside the
        repository)".
        """
        named = {path for argument in arguments for path in self._files(argument)}
        status = _git(
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            folder=self.root,
        ).stdout
        found = {}
        for entry in filter(None, status.split("\0")):
            code, path = entry[:2], entry[3:]
            if self._needs(path) or self.root / path in named:
                found[path] = "untracked" if code == "??" else "changed"
        for file in sorted(named):
            if not file.is_relative_to(self.root):
                found[str(file)] = "outside the repository"
            elif _git("ls-files", "--error-unmatch", str(file), folder=self.root).returncode:
                found.setdefault(str(file.relative_to(self.root)), "ignored by git")
        return [f"{_printable(path)} ({why})" for path, why in found.items()]

    def _needs(self, path: str) -> bool:
        """Whether a job may read a file of the project that its command does not name."""
        if not path.startswith(self.project_prefix):
            return False
        within = path.removeprefix(self.project_prefix)
        of_kind = within.endswith(_NEEDED) or within in _NEEDED_TEXTS
        return of_kind and not within.startswith(_NOT_NEEDED)

    def _files(self, argument: str) -> list[Path]:
        """Files that an argument, or what stands behind its =, names."""
        texts = {argument, argument.partition("=")[2]} - {""}
        paths = [Path(self.root, self.prefix, text) for text in texts if len(text) < 1000]
        return [path.resolve() for path in paths if path.is_file()]


def find_repository(folder: Path) -> Repository:
    """Return the repository around a folder.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        done = _git("rev-parse", "--show-toplevel", "--show-prefix", folder=folder)
    except FileNotFoundError:
        raise InputError(
            "git was not found; install it: jobs are cloned from a git repository."
        ) from None
    if "dubious ownership" in done.stderr:
        raise InputError(
            f"the repository around {folder} belongs to another user, and git reads it only if you "
            f"trust it: git config --global --add safe.directory {_untrusted(done.stderr, folder)}"
        )
    if done.returncode:
        raise InputError(
            f"{folder} is in no git repository; jobs are cloned from one at a commit: git init, "
            "commit, push."
        )
    root, _, prefix = done.stdout.partition("\n")
    return Repository(Path(root).resolve(), prefix.strip())


def _printable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _untrusted(stderr: str, folder: Path) -> str:
    match = re.search(r"repository at '(.*)'", stderr)
    return match[1] if match else str(folder)


def _git(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Names of files are bytes, which need not be UTF-8; they are kept as Python keeps such."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )

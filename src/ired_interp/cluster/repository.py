"""The git repository that a job is cloned from: what of it is committed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ired_interp.errors import InputError

_NEEDED = (".py", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".sbatch", ".sh")  # what a job may read
_NOT_NEEDED = ("docs/", "tests/", "benchmarks/")


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

        That is code and settings changed or untracked, and files named by the arguments.

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
            needed = path.endswith(_NEEDED) and not path.startswith(_NOT_NEEDED)
            if needed or self.root / path in named:
                found[path] = "untracked" if code == "??" else "changed"
        for file in sorted(named):
            if not file.is_relative_to(self.root):
                found[str(file)] = "outside the repository"
            elif _git("ls-files", "--error-unmatch", str(file), folder=self.root).returncode:
                found.setdefault(str(file.relative_to(self.root)), "ignored by git")
        return [f"{path} ({why})" for path, why in found.items()]

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
    if done.returncode:
        raise InputError(
            f"{folder} is in no git repository; jobs are cloned from one at a commit: git init, "
            "commit, push."
        )
    root, _, prefix = done.stdout.partition("\n")
    return Repository(Path(root).resolve(), prefix.strip())


def _git(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )

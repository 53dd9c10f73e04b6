"""What produced a result: versions, commit and command."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

_MODULE = ("ired_interp", "__main__.py")  # as `python -m ired_interp` is named


def provenance() -> dict[str, dict[str, str]]:
    """Return versions of this program and of what computes for it, its git commit, the command.

    There is a commit where the source lies in a repository of its own, and a command where the
    program `ired` runs.
    """
    made = _installed()
    if Path(sys.argv[0]).name != "ired" and Path(sys.argv[0]).parts[-2:] != _MODULE:
        return made
    return made | {"source": made["source"] | {"command": shlex.join(["ired", *sys.argv[1:]])}}


@cache
def _installed() -> dict[str, dict[str, str]]:
    packages = ("ired-interp", "torch", "lightning", "numpy")
    versions = {name: version(name) for name in packages} | {"python": platform.python_version()}
    commit = _commit()
    return {"versions": versions, "source": {"commit": commit} if commit else {}}


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(__file__).name not in git("ls-files", Path(__file__).name):
            return None  # installed inside somebody else's repository
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None

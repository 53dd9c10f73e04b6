"""What produced a result: versions and commit."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def provenance() -> dict[str, dict[str, str]]:
    """Return versions of this program and of what computes for it, and its git commit.

    There is a commit where the source lies in a repository of its own.
    """
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

"""`ired init slurm`: bring what cluster jobs are made from into a project, to be edited there."""

from pathlib import Path

from ired_interp.cluster.job import REQUIREMENTS
from ired_interp.cluster.repository import find_repository
from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.files import copy_new
from ired_interp.shipped import shipped

_DESCRIPTION = """Write slurm/ with the profiles and the template of cluster jobs into the project
around the current folder (the nearest folder of its git repository with pyproject.toml or
requirements.txt, else all of it), or into the current folder; files that exist are kept."""

_NEXT = f"""next:
  1. edit slurm/profiles/default.yaml: partition, account, time; see gpu.yaml and laptop.yaml
  2. name ired-interp in {" or in the dependencies of ".join(REQUIREMENTS)}: jobs install the first
     of these that the project has (or set environment in the profile)
  3. git add, git commit, git push: jobs are cloned from the repository's remote
  4. ired check -- fit --config quickstart
"""


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    parser = CommandParser(prog="ired init", description=_DESCRIPTION)
    parser.add_argument("what", choices=["slurm"], help="what to bring into the project")
    folder = parser.parse_args(arguments).what
    root = _root(Path.cwd())
    for source in sorted(file for file in shipped(folder).rglob("*") if file.is_file()):
        copy = root / source.relative_to(shipped(""))
        print(f"{'wrote' if copy_new(source, copy) else 'kept '} {copy}")
    print(_NEXT, end="")
    return 0


def _root(folder: Path) -> Path:
    """Where `ired submit` looks for slurm/ once the folder is in a git repository."""
    try:
        return find_repository(folder).project
    except InputError:
        return folder

"""`ired configs`: the configurations that come with the package, to run by name or to copy."""

import argparse
from pathlib import Path, PurePosixPath

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.files import copy_new
from ired_interp.shipped import configurations, shipped, shipped_configuration

_DESCRIPTION = """List the configurations that come with ired-interp; every --config takes their
names (quickstart, ablation/one_step, hessian_spectrum). `copy` brings one out to be edited."""


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If a copy would overwrite a file, or there is nothing of the name to copy.
    """
    options = _parser().parse_args(arguments)
    if options.action is None:
        known = configurations()
        width = max(len(str(path)) for path in known) + 2
        for path in known:
            print(f"{path!s:<{width}}{_first_comment(shipped(path))}")
        return 0
    path = shipped_configuration(options.name)
    copy = _destination(path, options.destination)
    if not copy_new(shipped(path), copy):
        raise InputError(f"{copy} exists, and is not overwritten; name another destination.")
    print(f"wrote {copy}; edit it, and give it as --config {copy}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="ired configs", description=_DESCRIPTION)
    actions = parser.add_subparsers(dest="action", metavar="copy")
    copy = actions.add_parser("copy", help="copy a configuration: ired configs copy NAME [DEST]")
    copy.add_argument("name", metavar="NAME", help="of a configuration, as listed or its end")
    copy.add_argument(
        "destination",
        nargs="?",
        metavar="DEST",
        type=Path,
        help="file or folder to copy to (default: the same path below the current folder, where "
        "the configuration's name means the copy from then on)",
    )
    return parser


def _first_comment(file: Path) -> str:
    lines = file.read_text().splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def _destination(path: PurePosixPath, wanted: Path | None) -> Path:
    if wanted is None:
        return Path(path)
    return wanted / path.name if wanted.is_dir() else wanted

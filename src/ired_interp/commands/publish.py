"""`ired publish`: runs as others are given them, small enough for a repository."""

from pathlib import Path

from ired_interp.commands.options import CommandParser
from ired_interp.terminal import log


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If there is nothing to publish, or something at its place.
    """
    parser = CommandParser(
        prog="ired publish",
        description="Copy a run, or all runs of a study, for others: everything that was measured, "
        "in single precision and packed, without weights, logs, and the names of this machine and "
        "its folders. `ired report`, `ired study --runs` and `ired export` read the copy. With "
        "--energy instead the trained energy: averaged weights in half precision, with its "
        "configuration and test errors, for `ired probe --ckpt`.",
    )
    parser.add_argument("folder", metavar="RUN|STUDY", help="a run's folder, or a study's")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="where to; nothing is there")
    parser.add_argument("--energy", action="store_true", help="the trained energy of a run")
    options = parser.parse_args(arguments)
    source, folder = Path(options.folder), Path(options.to)
    left = (_energy if options.energy else _results)(source, folder)
    for place in sorted(left):
        log(f"a place that only this machine has is named there still: {place}")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{size / 1e6:.2f} MB written to {folder}")
    return 0


def _results(source: Path, folder: Path) -> set[str]:
    from ired_interp.results import Run, find_runs, open_run
    from ired_interp.results.publication import Places, publish_run
    from ired_interp.studies.publication import publish_study

    if not Run(source).config.is_file() and find_runs(source):
        return publish_study(source, folder).left
    run = open_run(source)
    places = Places([run])
    publish_run(run, folder, places)
    return places.left


def _energy(source: Path, folder: Path) -> set[str]:
    from ired_interp.checkpoint import read_checkpoint
    from ired_interp.checkpoint_io import AtomicCheckpointIO
    from ired_interp.class_paths import import_modules
    from ired_interp.half_precision import halve
    from ired_interp.results import open_run
    from ired_interp.results.names import TESTS
    from ired_interp.results.publication import Places, check_place, publish_run

    run = open_run(source)
    check_place(folder)
    places = Places([run])
    checkpoint = read_checkpoint(run.path)
    import_modules(checkpoint.modules)
    log(checkpoint.sentence)
    content, change = halve(checkpoint, places)
    log(
        f"in half precision the energy changes by {change.energy:.2g} of its spread between "
        f"problems, its gradient by {change.gradient:.2g}, in the landscape where it does most"
    )
    publish_run(run, folder, places, TESTS)
    AtomicCheckpointIO().save_checkpoint(content, folder / "checkpoints" / checkpoint.path.name)
    return places.left

"""The `ired` program.

A command's code is imported only when it is chosen, and that of a heavy one only when it works, so
that --help and completion are immediate.
"""

import errno
import os
import sys
from importlib import import_module
from typing import NamedTuple

from ired_interp.errors import InputError, Interrupted, RunError, one_line, underlying

# What a path that does not fit leads to, and a disk that is full.
_PLACES = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Command(NamedTuple):
    """A row of the table: the module whose main(arguments) runs a command, and one line of help.

    Importing a `heavy` module loads PyTorch, which takes seconds; a page in help/ explains it.
    """

    module: str
    help: str
    heavy: bool = False


COMMANDS = {
    "fit": Command(
        "ired_interp.commands.fit",
        "train a model: ired fit --config configs/inverse.yaml",
        heavy=True,
    ),
    "configs": Command(
        "ired_interp.commands.configs",
        "the configurations that come with the program: ired configs [copy NAME]",
    ),
    "validate": Command(
        "ired_interp.commands.evaluate",
        "error on the validation set: ired validate --ckpt RUN",
        heavy=True,
    ),
    "test": Command(
        "ired_interp.commands.evaluate",
        "error on the test set beside its floors: ired test --ckpt RUN",
        heavy=True,
    ),
    "probe": Command(
        "ired_interp.commands.probe",
        "measure a trained model's landscapes: ired probe --ckpt RUN",
        heavy=True,
    ),
    "study": Command(
        "ired_interp.commands.study",
        "make a grid of trainings and its table: ired study configs/studies/table1.yaml",
    ),
    "runs": Command("ired_interp.commands.runs", "list the runs in a folder: ired runs"),
    "watch": Command("ired_interp.commands.watch", "follow a run in the terminal: ired watch RUN"),
    "report": Command(
        "ired_interp.commands.report", "one page about one or more runs: ired report RUN [RUN …]"
    ),
    "init": Command(
        "ired_interp.commands.init", "bring what cluster jobs need into a project: ired init slurm"
    ),
    "check": Command(
        "ired_interp.commands.submit",
        "try out what a job could fail at: ired check -- fit --config FILE",
    ),
    "submit": Command(
        "ired_interp.commands.submit",
        "queue a job on a SLURM cluster: ired submit -- fit --config FILE",
    ),
    "status": Command(
        "ired_interp.commands.cluster", "what becomes of submitted jobs: ired status [JOB|RUN]"
    ),
    "logs": Command("ired_interp.commands.cluster", "a job's log: ired logs -f JOB|RUN"),
    "cancel": Command("ired_interp.commands.cluster", "cancel a job: ired cancel JOB|RUN"),
    "fetch": Command(
        "ired_interp.commands.cluster", "copy runs from the cluster to here: ired fetch JOB|RUN"
    ),
    "export": Command("ired_interp.commands.export", "results as CSV or Parquet: ired export RUN"),
    "publish": Command(
        "ired_interp.commands.publish", "runs for others, small: ired publish RUN --to FOLDER"
    ),
    "dashboard": Command(
        "ired_interp.commands.dashboard",
        "make a team's W&B dashboard: ired dashboard --entity TEAM",
    ),
    "completion": Command(
        "ired_interp.commands.completion", "print a script for the shell: ired completion bash"
    ),
}


def usage() -> str:
    """Return the text of `ired --help`."""
    rows = "\n".join(f"  {name:<11}{command.help}" for name, command in COMMANDS.items())
    return (
        "usage: ired COMMAND [options]\n\nTrain IRED energy models and measure the geometry of "
        "their landscapes.\n\n"
        f"commands:\n{rows}\n\n"
        "options:\n  --debug    show the traceback of an error\n  --version  print the version\n  "
        "-h, --help print this\n\n"
        "`ired COMMAND --help` explains a command, `ired COMMAND --help all` lists every option.\n"
        "Exit code: 0 done, 1 failed, 2 bad input.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        return _run([a for a in arguments if a != "--debug"])
    except SystemExit as end:  # how parsers end after --help and --print_config
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:
        if debug:
            raise
        return _explain(underlying(error))
    except Interrupted as stop:
        return 128 + stop.number
    except KeyboardInterrupt:
        print("ired: stopped", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0 if arguments else 2
    name, *arguments = arguments
    if name == "--version":
        from ired_interp import __version__

        print(f"ired {__version__}")
        return 0
    if name not in COMMANDS:
        raise InputError(f"{name!r} is no command; there are {', '.join(COMMANDS)}.")
    command = COMMANDS[name]
    if command.heavy:
        every, arguments = _whole_help(arguments)
        if not every and _asks_for_help(arguments):
            from importlib.resources import files

            print(files("ired_interp").joinpath("help", f"{name}.txt").read_text("utf-8"), end="")
            return 0
        if "torch" not in sys.modules:
            from ired_interp.terminal import log

            log(f"ired {name}: loading PyTorch …")
    # An idle thread that spins takes the core from a busy one when the machine is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code: int = import_module(command.module).main(name, arguments)
    return code


def _asks_for_help(arguments: list[str]) -> bool:
    return "--help" in arguments or "-h" in arguments


def _whole_help(arguments: list[str]) -> tuple[bool, list[str]]:
    """Tell whether `--help all` asks for every option, and return the arguments without "all"."""
    every = arguments[-2:] in (["--help", "all"], ["-h", "all"])
    return every, arguments[:-1] if every else arguments


def _explain(error: BaseException) -> int:
    if isinstance(error, InputError):
        print(f"ired: {error}", file=sys.stderr)
        return 2
    if isinstance(error, RunError):
        print(f"ired: {error}", file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.errno in _PLACES and error.filename is not None:
        name = one_line(str(error.filename), 200)
        print(
            f"ired: {name} cannot be used ({error.strerror}); name another place.", file=sys.stderr
        )
        return 2
    if isinstance(error, OSError) and error.errno in _FULL:
        place = f" while {error.filename} was written" if error.filename else ""
        print(f"ired: the disk is full{place}; free space, and go on.", file=sys.stderr)
        return 1
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        detail = f" ({one_line(str(error), 200)})" if str(error) else ""
        print(
            f"ired: memory ran out{detail}; make the batch, the problems or the model smaller.",
            file=sys.stderr,
        )
        return 1
    print(
        f"ired: {type(error).__name__}: {error} (run again with --debug for the traceback)",
        file=sys.stderr,
    )
    return 1

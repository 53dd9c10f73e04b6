"""Files that appear whole or not at all, that are read if they are regular; settings in YAML."""

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ired_interp.errors import InputError, RunError
from ired_interp.yaml_bounds import load_yaml

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HELD = (errno.EACCES, errno.EAGAIN)
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as mkstemp names them in `atomic`
_MOST_TEXT = 10 * 2**20  # bytes of a file of settings


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to it if the block ends well, else removed.

    Raises
    ------
    InputError
        If there is a folder.
    RunError
        If the disk is full; what stood at `path` stands there still.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, where a file would be written; name another place.")
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # in use: see remove_leftovers
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Say which file was being written when the disk was full.

    Raises
    ------
    RunError
        If it was.
    OSError
        As it was raised, if it says something else.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise RunError(
            f"{path} could not be written ({error.strerror}); what was saved before is whole: free "
            "space, and go on."
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `atomic` below a folder whose writers were killed."""
    for file in folder.rglob(".*"):
        if not _TEMPORARY.fullmatch(file.name) or not is_regular(file):
            continue
        with suppress(OSError), file.open("rb") as open_file:
            fcntl.flock(open_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()


def take_lock(file: IO[Any]) -> bool:
    """Take the lock of an open file, which ends with the process; whether no other one has it.

    Raises
    ------
    OSError
        If the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def copy_new(source: Path, copy: Path) -> bool:
    """Copy a file to where nothing is yet, and say whether that was so."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with copy.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        return False
    return True


def is_regular(path: Path) -> bool:
    """Whether a file is there that ends: no pipe, device or folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_regular(path: Path, most: int, kind: str) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : Path
        Of the file.
    most : int
        Bytes that it may have.
    kind : str
        What it is called in messages, such as "checkpoint".

    Raises
    ------
    InputError
        If it is missing, a pipe, a device or a folder, cannot be read, or is larger.
    """
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to is waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{kind} {path} is no regular file; name a file.")
            if about.st_size > most:
                raise InputError(
                    f"{kind} {path} has {about.st_size} bytes, more than the {most} that are read; "
                    "check the path."
                )
            return file.read(most)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # the second: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{kind} {path} cannot be read ({reason}); check the path.") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return a configuration file as a mapping.

    Raises
    ------
    InputError
        If it is missing, is no regular file or no YAML mapping, or grows beyond bounds.
    """
    name = f"configuration {path}"
    try:
        text = read_regular(Path(path), _MOST_TEXT, "configuration").decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no valid YAML: {error}") from None
    content = load_yaml(text, name)
    if not isinstance(content, dict):
        raise InputError(f"{name} holds {type(content).__name__}; expected a mapping of settings.")
    return content

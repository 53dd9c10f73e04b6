"""Files that appear whole or not at all, and settings read from YAML."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ired_interp.errors import InputError, one_line


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to it if the block ends well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_new(source: Path, copy: Path) -> bool:
    """Copy a file to where nothing is yet, and say whether that was so."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with copy.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        return False
    return True


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return a configuration file as a mapping.

    Raises
    ------
    InputError
        If it is missing or is no YAML mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(
            f"configuration {path} cannot be read ({error.strerror}); check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {path} is no valid YAML: {one_line(str(error))}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"configuration {path} holds {type(content).__name__}; expected a mapping of settings."
        )
    return content

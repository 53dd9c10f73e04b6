"""What a failed check says: what was found, and what to do."""

import linecache
import sysconfig
from pathlib import Path
from traceback import walk_tb

import ired_interp
from ired_interp.errors import InputError, RunError, chain, one_line, underlying

_LIBRARIES = {"site-packages", "dist-packages"}
_STANDARD = sysconfig.get_path("stdlib")
_OURS = str(Path(ired_interp.__file__).parent)


class Fault(Exception):
    """A check failed: `found` is wrong, `remedy` puts it right."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found, self.remedy = found, remedy


def explain(error: BaseException) -> tuple[str, str]:
    """Return what was found and what to do, for any exception.

    The sentence of an InputError or RunError says both, unless it stands for an error in the user's
    own code. Any other error is named with the innermost
    line of the user's own code that it went through, in whichever of the errors behind it that line
    stands.
    """
    if isinstance(error, Fault):
        return error.found, error.remedy
    if isinstance(error, SystemExit) and not _own_line(error):
        return (
            "the arguments only print help or a configuration",
            "leave out --help and --print_config",
        )
    known = underlying(error)
    own = [(cause, place) for cause in chain(error) if (place := _own_line(cause))]
    if isinstance(known, InputError | RunError) and not (known.__cause__ and own):
        return str(known), ""
    cause, place = own[-1] if own else (error, _last_line(error))
    return (
        f"{type(cause).__name__}: {one_line(str(cause))}{place}",
        "correct this line, or what it was given",
    )


def _own_line(error: BaseException) -> str:
    """Return the innermost line outside of libraries and this package; "" where there is none."""
    places = _places(error)
    own = [
        p
        for p in places
        if not p[0].startswith((_STANDARD, _OURS, "<")) and _LIBRARIES.isdisjoint(Path(p[0]).parts)
    ]
    return _format(*own[-1]) if own else ""


def _last_line(error: BaseException) -> str:
    places = _places(error)
    ours = [place for place in places if place[0].startswith(_OURS)]
    return _format(*(ours or places)[-1]) if places else ""


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]


def _format(file: str, line: int) -> str:
    text = linecache.getline(file, line).strip()
    return f" ({file}:{line}" + (f": {text})" if text else ")")

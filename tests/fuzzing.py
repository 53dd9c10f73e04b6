"""What every wrong input is answered with, and how that is looked at."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

Answer = tuple[int, str, str]

_LONGEST = 450  # characters of a sentence
_RAW = ("Traceback", "--debug", "<class", "Namespace(", "typing.", "NestedArg", "object at 0x")
_HANGS = 120  # seconds, many times what the slowest takes


class Hang(BaseException):
    """An input that the program does not come back from."""


@contextmanager
def ends() -> Iterator[None]:
    """Raise Hang where the block does not end."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_HANGS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def faults(folder: Path, act: Callable[[], Answer]) -> list[str]:
    """What is wrong with how an input was answered; nothing where all is well."""
    before = set(folder.rglob("*"))
    try:
        with ends():
            code, out, err = act()
    except Hang:
        return ["it hangs"]
    except Exception as error:
        return [f"raised {type(error).__name__}: {error}"]
    found = [f"shows {word}" for word in _RAW if word in out + err]
    if code != 2:
        found.append(f"exit code {code}")
    if out or not err.startswith("ired: ") or err.count("\n") != 1:
        found.append("is not one line on standard error")
    if len(err) > _LONGEST:
        found.append(f"has {len(err)} characters")
    if left := set(folder.rglob("*")) - before:
        found.append(f"leaves {sorted(map(str, left))[:3]}")
    return [f"{problem}: {err[:300]!r}" for problem in found]

"""Errors meant for the person at the keyboard.

Each is one sentence: what was found, what was expected and what to do.
"""

import re
from collections.abc import Iterator


class InputError(ValueError):
    """Bad input (configuration, file, shape).

    The program prints its sentence and ends with exit code 2.
    """


class RunError(Exception):
    """A run that started well and failed.

    The program prints its sentence and ends with exit code 1.
    """


class Interrupted(BaseException):
    """A run was stopped by a signal, after it saved its state.

    The program ends with exit code 128 + number.

    Not an Exception, so that code which survives errors (a logger that fails, say) does not survive
    it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and those that it was raised from or while handling, each once.

    An error that is raised anew while its own wrapper is handled stands behind itself.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def underlying(error: BaseException) -> BaseException:
    """Return the InputError or RunError that a library wrapped; else the error itself."""
    found = (link for link in chain(error) if isinstance(link, InputError | RunError))
    return next(found, error)


def one_line(message: str, most: int = 300) -> str:
    """Return a message of several lines as one, cut after so many characters."""
    text = re.sub(r"\s+", " ", message).strip()
    return text if len(text) <= most else text[: most - 1] + "…"

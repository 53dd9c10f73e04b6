"""Errors meant for the person at the keyboard: one sentence with what was found, what was expected and what to do."""


class InputError(ValueError):
    """Bad input (configuration, file, shape). The program prints its sentence and ends with exit code 2."""


class RunError(Exception):
    """A run that started well and failed. The program prints its sentence and ends with exit code 1."""


class Interrupted(BaseException):
    """A run was stopped by a signal, after it saved its state. The program ends with exit code 128 + number.

    Not an Exception, so that code which survives errors (a logger that fails, say) does not survive it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def underlying(error: BaseException) -> BaseException:
    """The InputError or RunError that a library wrapped into an error of its own, if there is one; else the error itself."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, InputError | RunError):
            return link
        link = link.__cause__ or link.__context__
    return error

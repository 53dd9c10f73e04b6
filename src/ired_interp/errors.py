"""Errors meant for the person at the keyboard: one sentence with what was found, what was expected and what to do."""


class InputError(ValueError):
    """Bad input (configuration, file, shape). The program prints its sentence and ends with exit code 2."""


class RunError(RuntimeError):
    """A run that started well and failed. The program prints its sentence and ends with exit code 1."""


class Interrupted(RuntimeError):
    """A run was stopped by a signal, after it saved its state. The program ends with exit code 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number

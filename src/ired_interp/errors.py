"""Errors meant for the person at the keyboard: one sentence with what was found, what was expected and what to do."""


class InputError(ValueError):
    """Bad input (configuration, file, shape). The program prints its sentence and ends with exit code 2."""


class RunError(RuntimeError):
    """A run that started well and failed. The program prints its sentence and ends with exit code 1."""

"""Options that a command takes out of its arguments before the configuration is parsed."""

import argparse
from typing import Any, NoReturn

from ired_interp.errors import InputError, one_line


class CommandParser(argparse.ArgumentParser):
    """A parser of whole names, whose complaints are InputErrors of one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Raise the complaint as an InputError.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(f"{one_line(message)}; `{self.prog} --help` explains.")


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take the value of `--name value` or `--name=value` (None if absent) out of the arguments.

    Raises
    ------
    InputError
        If it is given more than once, or without a value.
    """
    values, rest = take_options(arguments, name)
    if len(values) > 1:
        raise InputError(f"{name} was given {len(values)} values ({', '.join(values)}); give one.")
    return (values[0] if values else None), rest


def take_options(arguments: list[str], name: str) -> tuple[list[str], list[str]]:
    """Take all values of an option (`--name a b --name=c`) out of the arguments.

    Raises
    ------
    InputError
        If it stands without a value.
    """
    values: list[str] = []
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        head, equals, value = arguments[position].partition("=")
        position += 1
        if head != name:
            rest.append(arguments[position - 1])
            continue
        found = [value] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("-"):
            found.append(arguments[position])
            position += 1
        if not found:
            raise InputError(f"{name} stands without a value; give one.")
        values += found
    return values, rest

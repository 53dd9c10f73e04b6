"""YAML whose text does not hide its size: aliases stand for little, and never for themselves."""

from collections.abc import Iterable
from typing import Any

import yaml

from ired_interp.errors import InputError, one_line

_DEEP = 100  # brackets of an option's value from which it may nest too deep
_MOST_NODES = 100_000  # settings with every alias written out; those that ship have at most 200


def load_yaml(text: str, name: str) -> Any:
    """Return the content of a YAML text.

    Parameters
    ----------
    text : str
        One document.
    name : str
        What it is called in messages.

    Raises
    ------
    InputError
        If it is no YAML, nests without end, or grows beyond bounds where its aliases are written
        out.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            _count(node, {}, name)
        return yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{name} is no valid YAML: {one_line(str(error), 250)}") from None
    except RecursionError:
        raise InputError(_too_deep(name)) from None


def check_option_values(arguments: Iterable[str]) -> None:
    """Refuse option values whose aliases stand for themselves, or for more than can be read.

    Parameters
    ----------
    arguments : iterable of str
        Of a command line, whose values a parser reads as YAML where they are such.

    Raises
    ------
    InputError
        If there is one, or one nests without end.
    """
    option = "a value"
    for argument in arguments:
        value = argument
        if argument.startswith("--"):
            option, _, value = argument.partition("=")
        if ("&" in value and "*" in value) or value.count("[") + value.count("{") > _DEEP:
            try:
                node = yaml.compose(value, yaml.SafeLoader)
            except (yaml.YAMLError, ValueError):
                continue  # which the parser explains
            except RecursionError:
                raise InputError(_too_deep(option)) from None
            if node is not None:
                _count(node, {}, option)


def _too_deep(name: str) -> str:
    return f"{name} nests too deep to be read; expected settings."


def _count(node: yaml.Node, known: dict[int, int | None], name: str) -> int:
    """Count the nodes below one, aliases written out; None marks those being counted.

    Raises
    ------
    InputError
        If there are too many.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise InputError(f"{name} holds an alias that stands for itself; write the value out.")
        return found
    known[id(node)] = None
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_count(part, known, name) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(part, known, name) for part in node.value)
    if total > _MOST_NODES:
        raise InputError(
            f"{name} holds more than {_MOST_NODES} values once its aliases are written out; "
            "expected settings."
        )
    known[id(node)] = total
    return total

"""The modules that a configuration names classes of."""

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ired_interp.files import read_yaml
from ired_interp.lightning_cli import configuration_names, with_files

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def import_named(arguments: list[str]) -> None:
    """Import the modules of the classes that the arguments or their configuration files name.

    The parser only quotes an error in a module; imported here, it is raised as it is, with its
    line. Modules that do not exist are left to the parser, which names them.
    """
    given = [value for argument in arguments for value in argument.split("=")[-1:]]
    for file in configuration_names(with_files(arguments)):
        given += _class_paths(read_yaml(file))
    for path in given:
        if _DOTTED.fullmatch(path) and _exists(module := path.rpartition(".")[0]):
            import_module(module)


def _exists(module: str) -> bool:
    parent = module.rpartition(".")[0]
    return (not parent or _exists(parent)) and find_spec(module) is not None


def _class_paths(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        if isinstance(path := content.get("class_path"), str):
            yield path
        content = list(content.values())
    if isinstance(content, list):
        for entry in content:
            yield from _class_paths(entry)

"""Which classes a checkpoint may name: those of this package, and of modules that its user names.

A checkpoint's configuration names classes, and whoever wrote the file chose them; importing a
module runs it. So a class path of a checkpoint counts only where its class is registered already
(this package's are, and what a program has imported itself), or where its module is named

1. on the command line by --modules, or in Python by `load(path, modules=[…])`;
2. in a --config file of the command line;
3. in the config.yaml of the run that the checkpoint lies in, where that run is the user's own:
   below the current folder, or below a folder that IRED_PROJECT names (as jobs on a cluster do).

A run that is resumed takes its trainer's callbacks and loggers from that file, too: of a run that
is not the user's own, these must be of this package or of modules that --modules names.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ired_interp.errors import InputError, one_line
from ired_interp.files import read_yaml
from ired_interp.registry import Registered, signature_hints
from ired_interp.results import Run

# Of this package, whose classes a trainer may hold.
_OF_TRAINERS = ("ired_interp.callbacks", "ired_interp.loggers")
_WORD = re.compile(r"[\w,:+-]+")  # of the trainer's settings: "16-mixed", "0,1"
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def class_paths(config: Any, bare: bool = False) -> Iterator[str]:
    """Yield the class paths that a configuration names, those without a module if asked for."""
    if isinstance(config, dict):
        if isinstance(path := config.get("class_path"), str) and (bare or "." in path):
            yield path
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from class_paths(value, bare)


def modules_of(config: Any) -> set[str]:
    """Return the modules of the classes that a configuration of the user's own may name."""
    if isinstance(config, str):
        return {config.rpartition(".")[0]} if _DOTTED.fullmatch(config) else set()
    parts = config.values() if isinstance(config, dict) else config
    return (
        {m for part in parts for m in modules_of(part)}
        if isinstance(config, dict | list)
        else set()
    )


def modules_named(modules: Iterable[str], files: Iterable[str | Path]) -> list[str]:
    """Import the modules that --modules names; return them, and those that --config files name."""
    modules = list(dict.fromkeys(modules))
    import_modules(modules)
    return modules + sorted({module for file in files for module in modules_of(read_yaml(file))})


def is_own(run: Run) -> bool:
    """Whether a run lies in the user's project: below the current folder or IRED_PROJECT's."""
    named = os.environ.get("IRED_PROJECT", "").split(os.pathsep)
    places = [Path.cwd(), *map(Path, filter(None, named))]
    path = Path(os.path.abspath(run.path))
    return any(path.is_relative_to(place) for place in places) or any(
        path.resolve().is_relative_to(place.resolve()) for place in places
    )


def modules_of_run(run: Run) -> set[str]:
    """Return the modules that the configuration of a run names, if the run is the user's own."""
    return modules_of(read_yaml(run.config)) if is_own(run) else set()


def check_resumed(run: Run, modules: Iterable[str], kinds: Mapping[str, type]) -> None:
    """Refuse to go on with a stranger's run whose configuration names classes of others.

    Parameters
    ----------
    run : Run
        The run; the user's own may name what it likes.
    modules : iterable of str
        Modules that the user names.
    kinds : mapping of str to type
        As `check_class_paths` takes them.

    Raises
    ------
    InputError
        If there is one.
    """
    if is_own(run):
        return
    config, name = read_yaml(run.config), f"run {run.path}"
    trainer = config.pop("trainer", None) or {}
    check_class_paths(config, modules, name, kinds)
    for path in class_paths(trainer, bare=True):
        module, _, attribute = path.rpartition(".")
        ours = any(hasattr(sys.modules.get(part), attribute) for part in _OF_TRAINERS)
        known = (ours and module in ("", *_OF_TRAINERS)) or is_registered(path)
        if module not in modules and not known:
            raise InputError(_unvouched(name, path))
    for value in trainer.values():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, str) and (entry is not value or not _WORD.fullmatch(entry)):
                raise InputError(_no_text(name, entry, "part of the trainer"))
            _check_texts(entry, Any, name)


def import_modules(names: Iterable[str]) -> None:
    """Import modules that the user names.

    Raises
    ------
    InputError
        If one cannot be imported.
    """
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # of any kind: the code is the user's
            reason = one_line(f"{type(error).__name__}: {error}")
            raise InputError(
                f"module {name} cannot be imported ({reason}); modules are looked for among what "
                "is installed, beside each --config file and in the current folder."
            ) from error


def check_class_paths(
    config: Any, named: Iterable[str], name: str, kinds: Mapping[str, type] | None = None
) -> None:
    """Refuse a configuration from a file that names classes of modules nobody vouches for.

    Parameters
    ----------
    config : Any
        The configuration, or a part of it.
    named : iterable of str
        Modules that the user names.
    name : str
        What the file is called in the message.
    kinds : mapping of str to type, optional
        What parts of it describe without naming a class.

    Raises
    ------
    InputError
        If there is one; if text stands where a class is described, as it could name one, or a file.
    """
    named = set(named)
    for path in class_paths(config):
        module = path.rpartition(".")[0]
        if module not in named and not is_registered(path):
            raise InputError(_unvouched(name, path))
    for part, kind in (kinds or {}).items():
        _check_texts(config[part], kind, name)
    _check_texts(config, Any, name)


def _unvouched(name: str, path: str) -> str:
    module = path.rpartition(".")[0] or "MODULE"
    return (
        f"{name} names the class {one_line(path, 80)}, which is not of ired-interp; a file never "
        "says which code is run: if you trust it, name the module yourself by --modules "
        f"{one_line(module, 80)}."
    )


def _no_text(name: str, text: str, kind: str) -> str:
    return (
        f"{name} holds the text {one_line(text, 60)!r} where its configuration describes a {kind}; "
        "take a file that `ired fit` wrote."
    )


def is_registered(path: str, base: type = Registered) -> bool:
    """Whether a class path means a class of this package, or one that was imported already."""
    module, _, attribute = path.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return isinstance(found, type) and issubclass(found, base)


def _check_texts(value: Any, hint: Any, name: str) -> None:
    if isinstance(value, list):
        for entry in value:
            _check_texts(entry, Any, name)
    if isinstance(value, str) and not _takes_text(hint):
        raise InputError(_no_text(name, value, getattr(hint, "__name__", "class")))
    if not isinstance(value, dict):
        return
    kind, settings = hint, value
    if isinstance(path := value.get("class_path"), str):
        module, _, attribute = path.rpartition(".")
        kind = getattr(sys.modules.get(module), attribute, None)
        settings = value.get("init_args", {})
        if not isinstance(settings, dict):
            raise InputError(f"{name} has init_args of {one_line(path, 80)} that are no mapping.")
    hints = signature_hints(kind)
    for key, part in settings.items():
        _check_texts(part, hints.get(key, Any), name)


def _takes_text(hint: Any) -> bool:
    """Whether text means itself where this type is expected, not a class or a file to read."""
    if get_origin(hint) in (Union, UnionType):
        return any(_takes_text(part) for part in get_args(hint))
    return hint in (Any, str) or get_origin(hint) is Literal

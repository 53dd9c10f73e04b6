"""What configuration files say: the model, the data, and how they fit together."""

import re
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

import ired_interp.baselines  # noqa: F401  (its classes can be named in configurations)
from ired_interp.errors import InputError, RunError, chain, one_line, underlying
from ired_interp.files import read_yaml
from ired_interp.parser_messages import SettingError, complaint, key_in
from ired_interp.registry import signature_hints
from ired_interp.shipped import find_configuration
from ired_interp.solver import SolverModule
from ired_interp.tasks.data import TaskData
from ired_interp.terminal import log

# What parsers raise themselves of a value; anything else comes from the code that it names.
_OF_PARSERS = (ValueError, TypeError, LookupError, ImportError, AttributeError, ArgumentError)


class SentenceParser(ArgumentParser):
    """A parser of whole names, whose complaints are InputErrors of one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint.

        Raises
        ------
        InputError
            Always; one that was raised on the way as it is.
        """
        key = key_in(message)
        if ex is not None and isinstance(found := underlying(ex), InputError):
            raise found.below(key) if key and isinstance(found, SettingError) else found
        root = list(chain(ex))[-1] if ex is not None else None
        if root is not None and key and not isinstance(root, _OF_PARSERS):
            raise InputError(
                f"what {key} names cannot be imported: {type(root).__name__}: "
                f"{one_line(str(root))}."
            )
        options = [name for action in self._actions for name in action.option_strings]
        error: InputError = complaint(message, options)
        raise error


_FROM_DATA: dict[str, Callable[[TaskData], Any]] = {
    "condition_dim": lambda data: data.task.sizes(data.train_variant)[0],
    "solution_dim": lambda data: data.task.sizes(data.train_variant)[1],
    "task": lambda data: data.task,
    "value_range": lambda data: data.task.value_range(data.train_variant),
}


def link_model_to_data(parser: ArgumentParser) -> None:
    """Give the model the dimensions and the task of the data, and both the run's seed."""
    for target in ("model.init_args.energy.init_args", "model.init_args"):
        for name, read in _FROM_DATA.items():
            parser.link_arguments(
                "data", f"{target}.{name}", compute_fn=read, apply_on="instantiate"
            )
    parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
    parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=int)


def build(config: dict[str, Any]) -> tuple[SolverModule, TaskData]:
    """Build model and data of a resolved configuration (of which other parts are passed over).

    Parameters
    ----------
    config : dict
        With `model`, `data` and `seed_everything`.

    Returns
    -------
    SolverModule and TaskData
        The model, with weights as they are drawn, and the data.

    Raises
    ------
    InputError
        If a key or value is not valid.
    """
    parser = SentenceParser()
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_subclass_arguments(SolverModule, "model", required=True)
    parser.add_class_arguments(TaskData, "data")
    link_model_to_data(parser)
    built = _instantiate(parser, config, "seed_everything", "model", "data")
    return built.model, built.data


def build_data(config: dict[str, Any]) -> TaskData:
    """Build the data alone; as `build`."""
    parser = SentenceParser()
    parser.add_class_arguments(TaskData, "data")
    data: TaskData = _instantiate(parser, config, "data").data
    return data


def _instantiate(parser: ArgumentParser, config: dict[str, Any], *keys: str) -> Any:
    with told_in_a_sentence():
        parsed = parser.parse_object({key: config[key] for key in keys if key in config})
        refuse_nulls(parsed)
        return parser.instantiate(parsed)


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """Turn whatever the parts of a configuration raise as they are made into an InputError.

    Raises
    ------
    InputError
        If they raise.
    """
    try:
        yield
    except Exception as error:
        found = underlying(error)
        if isinstance(found, InputError | RunError):
            raise found from None
        raise InputError(f"what is configured cannot be made: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """Say what went wrong, without the values that a parser repeats with it."""
    text = str(error)
    if listed := re.search(r"^Errors:\n\s*- (.+?)\n", text, re.MULTILINE):
        text = listed[1]
    if "can't allocate memory" in text:
        text = "it takes more memory than there is; make the task, the model or the batch smaller"
    return one_line(text or type(error).__name__).rstrip(".!")


def refuse_nulls(settings: Any, key: str = "", kind: Any = None) -> None:
    """Refuse null where a class takes no None, which parsers let pass.

    Parameters
    ----------
    settings : Namespace
        Parsed, not instantiated.
    key : str
        Where it stands.
    kind : type, optional
        What it makes, where it does not say so itself.

    Raises
    ------
    SettingError
        If there is one.
    """
    if isinstance(settings, list):
        for entry in settings:
            refuse_nulls(entry, key)
    if not isinstance(settings, Namespace):
        return
    values = settings
    if isinstance(path := settings.get("class_path"), str):
        kind, values = resolve_name(path), settings.get("init_args")
    hints = signature_hints(kind) if kind else {} if key else {"data": TaskData}
    for name, value in vars(values).items() if isinstance(values, Namespace) else ():
        here, hint = f"{key}.{name}" if key else name, hints.get(name, Any)
        if value is None and key and name not in _FROM_DATA and not _takes_none(hint):
            raise SettingError(here, "is null; give it a value, or leave it out")
        refuse_nulls(value, here, hint if isinstance(hint, type) else None)


def _takes_none(hint: Any) -> bool:
    return hint in (Any, None, type(None)) or (
        get_origin(hint) in (Union, UnionType) and any(_takes_none(part) for part in get_args(hint))
    )


def configuration_file(name: str) -> str:
    """Return the file that the name of a configuration means; say which if not that very path.

    Raises
    ------
    InputError
        If it means none.
    """
    found = str(find_configuration(name))
    if Path(found) != Path(name):
        log(f"configuration {name}: {found}")
    return found


def check_order(files: list[str]) -> None:
    """Refuse lists of configuration files of which a part would be lost silently.

    Parameters
    ----------
    files : list of str
        In the order given.

    Raises
    ------
    InputError
        If the trainer of one is no mapping; if a fragment stands before the configuration it adds
        to, or replaces callbacks that came before it.
    """
    callbacks_seen = False
    for position, file in enumerate(files):
        trainer = read_yaml(file).get("trainer", {})
        if not isinstance(trainer, dict):
            raise InputError(
                f"{file} has trainer {one_line(str(trainer), 60)}; expected a mapping of settings."
            )
        replaces, appends = "callbacks" in trainer, "callbacks+" in trainer
        if replaces and appends:
            raise InputError(
                f"{file} has both 'callbacks' and 'callbacks+'; keep the second, which adds."
            )
        if replaces and callbacks_seen:
            raise InputError(
                f"{file} has 'callbacks', which would replace those before it; write 'callbacks+' "
                "to add."
            )
        later = [other for other in files[position + 1 :] if "model" in read_yaml(other)]
        if appends and later:
            raise InputError(
                f"{file} adds callbacks but stands before {later[0]}, which would drop them; put "
                "it last."
            )
        callbacks_seen |= replaces or appends

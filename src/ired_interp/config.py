"""What configuration files say: the model, the data, and how they fit together."""

import re
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

import ired_interp.baselines  # noqa: F401  (its classes can be named in configurations)
from ired_interp.errors import InputError, one_line, underlying
from ired_interp.files import read_yaml
from ired_interp.shipped import find_configuration
from ired_interp.solver import SolverModule
from ired_interp.tasks.data import TaskData
from ired_interp.terminal import log

# What the parser says of a class that it cannot import, and of an option that it does not know.
_IMPORT = re.compile(
    r"Problem with given class_path '([^']+)':\s*"
    r"(No module named .+|cannot import name .+|module '.+' has no attribute .+)"
)
_UNKNOWN = re.compile(r"Option '.+' is not accepted")
_WHERE = (
    "modules are looked for among what is installed, beside each --config file and in the current "
    "folder"
)


class SentenceParser(ArgumentParser):
    """A parser whose complaints are InputErrors of one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint.

        Raises
        ------
        InputError
            Always; one that was raised on the way as it is.
        """
        if ex is not None and isinstance(found := underlying(ex), InputError):
            raise found
        if refused := _IMPORT.search(message):
            path, reason = refused.groups()
            raise InputError(f"class {path} cannot be imported: {reason.rstrip('.')}; {_WHERE}.")
        text = one_line(message)
        if _UNKNOWN.fullmatch(text):
            known = dict.fromkeys(
                a.dest.partition(".")[0] for a in self._actions if a.dest != "help"
            )
            text += f"; choose from {', '.join(known)}"
        raise InputError(f"the configuration is not valid: {text}")


def link_model_to_data(parser: ArgumentParser) -> None:
    """Give the model the dimensions and the task of the data, and both the run's seed."""
    from_data = {
        "condition_dim": lambda data: data.task.sizes(data.train_variant)[0],
        "solution_dim": lambda data: data.task.sizes(data.train_variant)[1],
        "task": lambda data: data.task,
        "value_range": lambda data: data.task.value_range(data.train_variant),
    }
    for target in ("model.init_args.energy.init_args", "model.init_args"):
        for name, read in from_data.items():
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
    try:
        return parser.instantiate(
            parser.parse_object({key: config[key] for key in keys if key in config})
        )
    except Exception as error:
        raise underlying(error) from None


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
        If a fragment stands before the configuration it adds to, or replaces callbacks that came
        before it.
    """
    callbacks_seen = False
    for position, file in enumerate(files):
        trainer = read_yaml(file).get("trainer") or {}
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

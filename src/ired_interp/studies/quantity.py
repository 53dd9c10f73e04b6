"""The quantities that answer a study's question, as its file names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from ired_interp.errors import InputError

Relation = Literal["above", "below", "equal"]
Step = Literal["last", "first", "change"]
TRAINING = "training"  # what `compare` calls the trainings' names


@dataclass(frozen=True)
class Claim:
    """That a quantity is above, below or equal to what stands beside it.

    Attributes
    ----------
    relation : str
        "above", "below", or "equal".
    to : str
        The name of what stands beside it.
    within : float
        By how much two that count as equal may differ; else 0.
    relative : bool
        Whether that is a share of what stands beside it.
    """

    relation: Relation
    to: str
    within: float = 0.0
    relative: bool = False


@dataclass(frozen=True)
class Quantity:
    """A number of every run, read from what a probe measured, and what is said of it.

    Attributes
    ----------
    name : str
        What it is, in words.
    probe : str
        Label of the result, as `ired probe` prints it; "test_error" is that of `ired test`.
    variable : str
        Of the result.
    at : mapping of str to Any
        Coordinates by dimension, each one label or a list; what remains is averaged.
    each : str
        Dimension that is not averaged but has a column for each of its labels; "" for none.
    settings : mapping of str to Any
        Of the measurement, where the probe measured with several.
    step : str
        Of a measurement made in training: the "last" one, the "first", or the "change" between.
    trainings : tuple of str
        Those that it is asked of; empty for all.
    beside : mapping of str to Any
        What it is held against, by what that is ("truth", "chance", …): a number, a variable of the
        same result, or a mapping of `variable`, `at`.
    claim : Claim, optional
        How it stands to one of these.
    compare : tuple of str
        Options of the grid between whose values it is compared, "training" for the trainings
        themselves.
    """

    name: str
    probe: str
    variable: str
    at: Mapping[str, Any] = field(default_factory=dict)
    each: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    step: Step = "last"
    trainings: tuple[str, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    claim: Claim | None = None
    compare: tuple[str, ...] = ()


def read_quantities(entries: Any, trainings: Sequence[str], where: str) -> tuple[Quantity, ...]:
    """Read the list `answers` of a study's file.

    Parameters
    ----------
    entries : list of mapping
        One for each quantity.
    trainings : sequence of str
        Names of the study's trainings.
    where : str
        The file, for messages.

    Returns
    -------
    tuple of Quantity
        In their order.

    Raises
    ------
    InputError
        If one of them says what no quantity can.
    """
    if not isinstance(entries, list):
        raise InputError(f"{where} has answers: {entries!r}; expected a list.")
    return tuple(
        _quantity(entry, trainings, f"{where}, answer {number},")
        for number, entry in enumerate(entries, 1)
    )


def _quantity(entry: Any, trainings: Sequence[str], where: str) -> Quantity:
    if not isinstance(entry, dict):
        raise InputError(f"{where} holds {entry!r}; expected a mapping of settings.")
    known = [one.name for one in fields(Quantity)]
    if unknown := [key for key in entry if key not in known]:
        raise InputError(f"{where} has no setting {unknown[0]!r}; there are {', '.join(known)}.")
    if missing := [key for key in known[:3] if key not in entry]:
        raise InputError(f"{where} lacks `{missing[0]}:`; write it.")
    for name in ("at", "settings", "beside"):
        if not isinstance(entry.get(name, {}), dict):
            raise InputError(f"{where} has {name}: {entry[name]!r}; expected a mapping.")
    named = entry.get("trainings", [])
    if not isinstance(named, list) or any(name not in trainings for name in named):
        raise InputError(
            f"{where} has trainings: {named!r}; expected a list of {', '.join(trainings)}."
        )
    claim = _claim(entry["claim"], entry.get("beside", {}), where) if "claim" in entry else None
    compare = _options(entry.get("compare", []), where)
    found = Quantity(**{**entry, "trainings": tuple(named), "claim": claim, "compare": compare})
    if found.step not in get_args(Step):
        names = ", ".join(map(repr, get_args(Step)))
        raise InputError(f"{where} has step: {found.step!r}; choose from {names}.")
    return found


def _options(entry: Any, where: str) -> tuple[str, ...]:
    """Read one option of the grid, or a list of them.

    Raises
    ------
    InputError
        If it is neither.
    """
    options = [entry] if isinstance(entry, str) else entry
    if isinstance(options, list) and all(isinstance(option, str) for option in options):
        return tuple(options)
    raise InputError(
        f"{where} has compare: {entry!r}; expected an option of the grid, or a list of them."
    )


def _claim(entry: Any, beside: Mapping[str, Any], where: str) -> Claim:
    """Read `{above: NAME}`, `{below: NAME}` or `{equal: NAME, within: 0.05}`, or `within: 5%`.

    Raises
    ------
    InputError
        If it is none of these, or nothing of the name stands beside the quantity.
    """
    if isinstance(entry, dict):
        stated = [relation for relation in get_args(Relation) if relation in entry]
        within, relative = _number(entry.get("within", 0.0))
        equal = within > 0 and "equal" in entry
        if len(stated) == 1 and len(entry) == 1 + ("within" in entry):
            to = entry[stated[0]]
            if to not in beside:
                raise InputError(
                    f"{where} claims something of {to!r}; beside it stand "
                    f"{', '.join(map(repr, beside)) or 'none'}."
                )
            if equal or entry.keys() == {stated[0]} != {"equal"}:
                return Claim(stated[0], str(to), within, relative)
    raise InputError(
        f"{where} has claim: {entry!r}; write {{above: NAME}}, {{below: NAME}} or "
        "{equal: NAME, within: NUMBER} with a name of `beside`."
    )


def _number(within: Any) -> tuple[float, bool]:
    """Return a number, and whether it is a share, as in "5%"; 0 for what is none."""
    text, share = str(within), str(within).endswith("%")
    try:
        return (float(text[:-1]) / 100, True) if share else (float(text), False)
    except ValueError:
        return 0.0, share

"""The quantities that answer a study's question, as its file names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from ired_interp.errors import InputError

Claim = Literal["above", "below", "equal"]
Step = Literal["last", "first", "change"]
TRAINING = "training"  # what `compare` calls the trainings' names


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
    claim : str, optional
        How it stands to the first of these: "above", "below", or "equal".
    within : float
        By how much two that count as equal may differ.
    compare : str
        An option of the grid between whose values it is compared, "training" for the trainings
        themselves; "" for none.
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
    within: float = 0.0
    compare: str = ""


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
    found = Quantity(**{**entry, "trainings": tuple(named)})
    for name, value, choices in (
        ("claim", found.claim, (*get_args(Claim), None)),
        ("step", found.step, get_args(Step)),
    ):
        if value not in choices:
            names = ", ".join(repr(choice) for choice in choices if choice)
            raise InputError(f"{where} has {name}: {value!r}; choose from {names}.")
    if found.claim and not found.beside:
        raise InputError(f"{where} claims {found.claim!r} of nothing; add `beside:`.")
    if (found.claim == "equal") != (isinstance(found.within, int | float) and found.within > 0):
        raise InputError(
            f"{where} has claim: {found.claim!r} with within: {found.within!r}; to be equal needs "
            "a number above 0, and nothing else takes one."
        )
    return found

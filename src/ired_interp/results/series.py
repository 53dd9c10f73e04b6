"""Results of one probe with one set of settings, over the steps of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
import yaml

from ired_interp.errors import InputError
from ired_interp.results.store import read_result


@dataclass(frozen=True)
class Series:
    """What a probe measured with the same settings on the same weights, step by step.

    Attributes
    ----------
    probe : str
        The result's label.
    weights : str
        "average" or "raw".
    settings : dict[str, Any]
        What set the measurement, flat ("probe.point", "variant", …), without the checkpoint, which
        changes from step to step.
    files : dict[int, Path]
        Result files by step (updates done), ascending.
    """

    probe: str
    weights: str
    settings: dict[str, Any]
    files: dict[int, Path]

    @property
    def steps(self) -> list[int]:
        """Updates done at each measurement."""
        return list(self.files)

    def at(self, step: int, names: Sequence[str] | None = None) -> xr.Dataset:
        """Return the result at one step, or only some of its variables.

        Raises
        ------
        InputError
            If there is none, or its file cannot be read.
        """
        if step not in self.files:
            raise InputError(
                f"{self.probe} was not measured at step {step}; there are {_listed(self.steps)}."
            )
        return read_result(self.files[step], names)

    @property
    def last(self) -> xr.Dataset:
        """The result at the last step."""
        return self.at(self.steps[-1])

    def dataset(self) -> xr.Dataset:
        """All results, joined along a first dimension `step`; entries that a step lacks are NaN.

        Raises
        ------
        InputError
            If a dimension without labels changes its length over the steps.
        """
        index = pd.Index(self.steps, name="step")
        try:
            joined = xr.concat(
                [self.at(step) for step in self.steps],
                dim=index,
                join="outer",
                data_vars="all",
                coords="different",
                compat="equals",
                combine_attrs="drop_conflicts",
            )
        except ValueError as error:
            raise InputError(
                f"the steps of {self.probe} have shapes that do not join ({error}); take one with "
                "at(step)."
            ) from None
        joined.attrs.pop("step", None)
        return joined

    def __repr__(self) -> str:
        return f"{self.probe}, {self.weights} weights, steps {_listed(self.steps)}"


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Put nested settings under dotted names.

    A YAML text under "config" counts as nested, and None as absent.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        value = yaml.safe_load(value) if key == "config" and isinstance(value, str) else value
        if isinstance(value, dict):
            found |= flatten(value, f"{name}.")
        elif value is not None:
            found[name] = value
    return found


def _listed(steps: list[int]) -> str:
    shown = [str(step) for step in steps]
    return (
        ", ".join(shown)
        if len(shown) <= 6
        else f"{', '.join(shown[:3])}, …, {shown[-1]} ({len(shown)} of them)"
    )

"""Measure a snapshot, and keep what came of it, be it a result or a failure."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import xarray as xr

from ired_interp.baselines import AnswerEnergy
from ired_interp.errors import InputError, RunError, one_line
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, Weights
from ired_interp.probes.loss_probe import LossSnapshot
from ired_interp.results import ResultKey, failed_result, read_result, write_result
from ired_interp.results.provenance import provenance
from ired_interp.tasks.base import Variant
from ired_interp.terminal import log

Seen = TypeVar("Seen", Snapshot, LossSnapshot, contravariant=True)
Taken = TypeVar("Taken", Snapshot, LossSnapshot)


class Measures(Protocol[Seen]):
    """What makes a result of a snapshot: a probe of energies or of losses."""

    @property
    def label(self) -> str:
        """Name of its results' folder."""

    def settings(self) -> dict[str, Any]:
        """Return what its result depends on, as JSON values."""

    def __call__(self, snapshot: Seen) -> xr.Dataset:
        """Measure."""


@dataclass(frozen=True)
class Measurement:
    """A probe and what it looks at, the same during training and afterwards.

    Parameters
    ----------
    probe : Probe
        What to measure.
    weights : str
        "average" or "raw".
    problems : int
        How many problems to measure on.
    variant : str
        Their distribution, one of the task's variants.

    Raises
    ------
    InputError
        If one of them does not exist, or the probe needs more problems.
    """

    probe: Probe
    weights: Weights = "average"
    problems: int = 32
    variant: Variant = "same"

    def __post_init__(self) -> None:
        label, least = self.probe.label, self.probe.least_problems
        if self.weights not in ("average", "raw"):
            raise InputError(f"{label} has weights={self.weights!r}; choose 'average' or 'raw'.")
        if self.problems < least:
            raise InputError(f"{label} has problems={self.problems}; give it at least {least}.")

    @property
    def origin(self) -> dict[str, Any]:
        """What its result depends on besides probe, weights and step, as JSON values."""
        return {"problems": self.problems, "variant": self.variant}

    @property
    def identity(self) -> str:
        """Equal for measurements that ask for the same."""
        parts = [self.probe.label, self.probe.settings(), self.weights, self.origin]
        return json.dumps(parts, sort_keys=True)

    def check(self, module: IREDModule) -> None:
        """Refuse a model that the probe or its settings do not fit; see `Probe.check`.

        Raises
        ------
        InputError
            If the probe measures an energy and the model is a feed-forward network.
        """
        if isinstance(module.energy, AnswerEnergy) and not self.probe.of_answers:
            raise InputError(
                f"{type(module.energy.model).__name__} has no energy to probe by "
                f"{self.probe.label}; choose effective_rank, which measures answers, or give a "
                "checkpoint of an IREDModule."
            )
        self.probe.check(module)

    def small(self, problems: int) -> "Measurement":
        """Return the same with a small probe, on so many problems or the least that it needs."""
        probe = self.probe.small()
        return replace(
            self, probe=probe, problems=min(self.problems, max(problems, probe.least_problems))
        )


def measure(
    probe: Measures[Taken],
    snapshot: Taken,
    folder: Path,
    origin: dict[str, Any],
    survive: bool = False,
    keep: bool = False,
    foreign: bool = False,
) -> tuple[Path, xr.Dataset]:
    """Run a probe and write its result below a folder.

    A measurement that runs out of memory or meets values that are not finite is written as failed,
    with the reason, and logged; it does not raise, so that a long training survives it. Of several
    ranks the first writes; memory that ran out on one of them alone is raised, as the others wait
    for it.

    Parameters
    ----------
    probe : Probe or LossProbe
        What to measure.
    snapshot : Snapshot or LossSnapshot
        Of what.
    folder : Path
        Where results lie.
    origin : dict
        What else the result depends on (problems, variant, …), as JSON values.
    survive : bool
        Write a request that the probe refuses as failed, too, instead of raising its InputError.
    keep : bool
        Take a finished result of the same key as it is, where there is one, and measure nothing.
    foreign : bool
        Whether the model is other people's code, whose errors of any kind are written as failed.

    Returns
    -------
    Path and xarray.Dataset
        The file and what is in it.

    Raises
    ------
    InputError
        If the probe refuses the request, unless `survive`.
    torch.linalg.LinAlgError
        If one of several ranks finds no decomposition.
    MemoryError
        If one of several ranks runs out of memory.
    RunError
        Never: it is written as failed.
    RuntimeError
        If one of several ranks runs out of memory, or the probe has a bug.
    """
    settings = {"probe": probe.settings(), **origin}
    key = ResultKey(probe.label, snapshot.step, snapshot.weights, settings)
    path = key.path(folder)
    scratch = path.with_name(f".{path.stem}")
    if keep and path.exists() and "failed" not in (result := read_result(path)).attrs:
        _discard(scratch)
        return path, result
    try:
        result = probe(replace(snapshot, scratch=scratch))
    except (RunError, InputError) as error:
        if isinstance(error, InputError) and not survive:
            raise
        result = failed_result(str(error))
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined,unused-ignore]
        if snapshot.ranks.count > 1:
            raise
        result = failed_result(
            f"no decomposition was found ({error}); the weights have probably diverged"
        )
    except (MemoryError, RuntimeError) as error:
        exhausted = _out_of_memory(error)
        if not (exhausted or foreign) or snapshot.ranks.count > 1:
            raise
        what = "problems" if isinstance(snapshot, Snapshot) else "batches"
        result = failed_result(
            f"out of memory ({error}); lower the number of {what} or the probe's memory_gib"
            if exhausted
            else _in_words(error)
        )
    except Exception as error:
        if not foreign or snapshot.ranks.count > 1:
            raise
        result = failed_result(_in_words(error))
    if "failed" in result.attrs:
        log(f"{probe.label} at step {snapshot.step} failed: {result.attrs['failed']}")
    if snapshot.ranks.first:
        write_result(folder, key, result, {"checkpoint": snapshot.checkpoint, **provenance()})
        _discard(scratch)
    return path, result


def _discard(scratch: Path) -> None:
    """Under another name first: a kill in the middle must leave nothing to be gone on from."""
    gone = scratch.with_suffix(".done")
    shutil.rmtree(gone, ignore_errors=True)
    if scratch.exists():
        scratch.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _in_words(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(
        error, MemoryError | torch.OutOfMemoryError
    ) or "can't allocate memory" in str(error)

"""Measure a snapshot, and keep what came of it, be it a result or a failure."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from ired_interp.errors import InputError, RunError
from ired_interp.probes import Probe, Snapshot
from ired_interp.results import ResultKey, failed_result, read_result, write_result
from ired_interp.results.provenance import provenance
from ired_interp.terminal import log


def measure(
    probe: Probe,
    snapshot: Snapshot,
    folder: Path,
    origin: dict[str, Any],
    survive: bool = False,
    keep: bool = False,
) -> tuple[Path, xr.Dataset]:
    """Run a probe and write its result below `folder`.

    A measurement that runs out of memory or meets values that are not finite is written as failed, with the reason, and said; it does not
    raise, so that a long training survives it. Of several ranks the first writes; memory that ran out on one of them alone is raised, as the
    others wait for it.

    Parameters
    ----------
    origin : what else the result depends on (problems, variant, …), as JSON values.
    survive : write a request that the probe refuses as failed, too, instead of raising its InputError.
    keep : take a finished result of the same label as it is, where there is one, and measure nothing.

    Returns
    -------
    The file and the dataset.
    """
    label = ResultKey(
        probe.label, snapshot.step, snapshot.weights, {"probe": probe.settings(), **origin}
    )
    path = label.path(folder)
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
    except torch.linalg.LinAlgError as error:
        if snapshot.ranks.count > 1:
            raise
        result = failed_result(
            f"no decomposition was found ({error}); the weights have probably diverged"
        )
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error) or snapshot.ranks.count > 1:
            raise
        result = failed_result(
            f"out of memory ({error}); lower the number of problems or the probe's memory_gib"
        )
    if "failed" in result.attrs:
        log(f"{probe.label} at step {snapshot.step} failed: {result.attrs['failed']}")
    if snapshot.ranks.first:
        write_result(folder, label, result, {"checkpoint": snapshot.checkpoint, **provenance()})
        _discard(scratch)
    return path, result


def _discard(scratch: Path) -> None:
    """Under another name first: a kill in the middle must leave nothing that a later measurement takes for its state."""
    gone = scratch.with_suffix(".done")
    shutil.rmtree(gone, ignore_errors=True)
    if scratch.exists():
        scratch.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(
        error, MemoryError | torch.OutOfMemoryError
    ) or "can't allocate memory" in str(error)

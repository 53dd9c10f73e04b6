"""A run as it is published: what was measured, small, without weights and a machine's places."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.files import atomic, read_yaml
from ired_interp.results.names import TESTS
from ired_interp.results.opened import OpenedRun
from ired_interp.results.run import Run
from ired_interp.results.state import STATE, state
from ired_interp.results.store import ResultKey, read_result, write_result
from ired_interp.results.validation import VALIDATION
from ired_interp.shipped import shipped

_LARGE = 4096  # values of an array that is rounded
_PACKED = 256  # values of an array that packing makes smaller
_KEPT_BITS = 10  # of the 23 after the point of a float32
_ROUNDED = f"rounded to {_KEPT_BITS} binary digits, {2.0 ** -(_KEPT_BITS + 1):.2%}"
_PLACE = re.compile(r"(?<![\w./~-])/(?:[\w.+=-]+/)+[\w.+=-]*")


class Places:
    """Leaves the places of runs and of the program on a machine out of any text.

    Parameters
    ----------
    runs : iterable of Run
        Whose folders' folder becomes "runs", as it is now and as their configurations name it.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        roots = {root for run in runs for root in _roots(run)}
        program = (shipped("").absolute(), shipped("").resolve())
        known = dict.fromkeys(map(str, roots), "runs") | {f"{place}/": "" for place in program}
        self._known = sorted(known.items(), key=lambda pair: -len(pair[0]))
        self.left: set[str] = set()

    def removed(self, text: str) -> str:
        """Return a text without them; other places that it names are kept in `left`."""
        for place, name in self._known:
            end = "" if place.endswith("/") else r"(?![\w.+=-])"
            text = re.sub(re.escape(place) + end, name, text)
        self.left.update(_PLACE.findall(text))
        return text


def _roots(run: Run) -> Iterator[Path]:
    root = run.path.parent.parent
    yield from (root.absolute(), root.resolve())
    named = read_yaml(run.config).get("runs") if run.config.is_file() else None
    if isinstance(named, str) and Path(named).is_absolute():
        yield Path(named)


def check_place(folder: Path) -> None:
    """Refuse to publish where anything is.

    Raises
    ------
    InputError
        If something is there.
    """
    if folder.exists():
        raise InputError(f"{folder} exists, and nothing is overwritten; name another place.")


def publish_run(run: Run, folder: Path, places: Places, only: Sequence[str] = ()) -> None:
    """Copy a run without its checkpoints and logs, and its results small.

    Of results that were measured again the newest is kept, of tests that of the checkpoint that the
    run means. Numbers are kept in single precision, those of large arrays rounded to 10 binary
    digits, which each says of itself.

    Parameters
    ----------
    run : Run
        That has ended.
    folder : Path
        Where to, where nothing is yet.
    places : Places
        Which are left out.
    only : sequence of str
        Labels of the results to keep; empty for all.

    Raises
    ------
    InputError
        If something is there, or the run is running.
    """
    check_place(folder)
    if state(run) == "running":
        raise InputError(f"{run.path} is being trained; publish it once it has ended.")
    opened = OpenedRun(run)
    copy = Run(folder)
    if run.config.is_file():
        copy.write_config(places.removed(run.config.read_text()))
    for file in run.metrics_files():
        _copy(file, folder / file.relative_to(run.path))
    if (run.path / VALIDATION).is_file():
        _copy(run.path / VALIDATION, folder / VALIDATION)
    if (run.path / STATE).is_file():
        _write_state(run.path / STATE, folder / STATE)
    for path in sorted([*_current(opened), *opened.failed]):
        if not only or path.parent.name in only:
            _write_small(read_result(path), copy.results, places)


def _current(opened: OpenedRun) -> Iterator[Path]:
    """List the results that count, where some were measured again."""
    best = opened.checkpoint.step if opened.checkpoint else None
    for series in opened.series:
        tested = series.probe in TESTS and best in series.files
        yield from [series.files[best]] if tested and best is not None else series.files.values()


def _copy(file: Path, copy: Path) -> None:
    with atomic(copy) as temporary:
        shutil.copyfile(file, temporary)


def _write_state(file: Path, copy: Path) -> None:
    """Copy how a run ended, but for which process that was on which machine."""
    kept = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("host", "pid")}
    with atomic(copy) as temporary:
        temporary.write_text(json.dumps(kept))


def _write_small(result: xr.Dataset, folder: Path, places: Places) -> None:
    attributes = {
        name: places.removed(value) if isinstance(value, str) else value
        for name, value in result.attrs.items()
    }
    key = ResultKey(
        str(attributes.pop("probe")),
        int(attributes.pop("step")),
        str(attributes.pop("weights")),
        json.loads(attributes.pop("settings")),
    )
    made = {
        name: json.loads(attributes.pop(name))
        for name in ("checkpoint", "source", "versions")
        if name in attributes
    }
    small = result.assign({str(n): _small(variable) for n, variable in result.data_vars.items()})
    small.attrs = attributes
    write_result(folder, key, small, made)


def _small(variable: xr.DataArray) -> xr.DataArray:
    """Return numbers in single precision where that holds them, packed where that is smaller."""
    found = variable.copy()
    found.encoding = {}
    if variable.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = variable.values.astype(np.float32)
        if np.allclose(single, variable.values, rtol=1e-6, atol=0, equal_nan=True):
            found = found.copy(data=single)
    if found.dtype == np.float32 and found.size >= _LARGE:
        found = found.copy(data=_rounded(found.values)).assign_attrs(precision=_ROUNDED)
    if found.dtype.kind in "fi" and found.size >= _PACKED:
        found.encoding = {"zlib": True, "complevel": 9, "shuffle": True}
    return found


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round float32 to few binary digits, half to even, which packs several times smaller.

    Examples
    --------
    >>> _rounded(np.array([1 / 3, -1e30, np.inf, np.nan], np.float32))
    array([ 3.33251953e-01, -1.00025555e+30,             inf,             nan],
          dtype=float32)
    """
    drop = 23 - _KEPT_BITS
    bits = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((bits >> drop) & np.uint32(1))
    kept = ((bits + half) & ~np.uint32((1 << drop) - 1)).view(np.float32)
    return np.where(np.isfinite(values) & np.isfinite(kept), kept, values)

"""A run opened for reading: metrics, results, landscapes and checkpoints as labelled arrays."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.results.choice import Choice, choice_of
from ired_interp.results.run import Run, open_run
from ired_interp.results.series import Series, flatten
from ired_interp.results.validation import Validation, read_validation

_CHANGING = (
    "checkpoint",
    "probe.frames",
)  # settings that differ from step to step of one series


class OpenedRun:
    """What a run, which may be running still, has logged and measured so far.

    Nothing is read before it is asked for.

    Parameters
    ----------
    run : Run
        Its folder.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.run.path

    @property
    def name(self) -> str:
        """experiment/name."""
        return "/".join(self.path.absolute().parts[-2:])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty where another program trained."""
        return read_yaml(self.run.config) if self.run.config.is_file() else {}

    @cached_property
    def checkpoint(self) -> Choice | None:
        """The checkpoint that the run means: the best by validation, else the last."""
        return choice_of(self.run)

    @cached_property
    def validation(self) -> Validation | None:
        """Its validation errors beside their floors, with what collapsed; None if not recorded."""
        return read_validation(self.run)

    @cached_property
    def metrics(self) -> dict[str, xr.DataArray]:
        """Logged metrics by name, each over the `step`s (updates done) at which it was logged."""
        logged = sorted(self.run.metrics().items())
        columns: dict[str, dict[int, float]] = {}
        for step, values in logged:
            for name, value in values.items():
                columns.setdefault(name, {})[step] = value
        return {
            name: xr.DataArray(list(values.values()), {"step": list(values)}, ("step",), name)
            for name, values in sorted(columns.items())
        }

    @property
    def step(self) -> int:
        """The last step (updates done) that logged a metric; 0 before that."""
        return max((int(curve["step"][-1]) for curve in self.metrics.values()), default=0)

    @cached_property
    def series(self) -> list[Series]:
        """Everything measured, one series per probe, weights and settings.

        Where a step was measured twice, the newest file holds.
        """
        found: dict[str, Series] = {}
        for path, head in self._heads.items():
            if "failed" in head:
                continue
            settings = {
                k: v for k, v in flatten(json.loads(head["settings"])).items() if k not in _CHANGING
            }
            probe, weights = str(head["probe"]), str(head["weights"])
            key = json.dumps([probe, weights, settings], sort_keys=True)
            files = found.setdefault(key, Series(probe, weights, settings, {})).files
            step = int(head["step"])
            if step not in files or files[step].stat().st_mtime_ns < path.stat().st_mtime_ns:
                files[step] = path
        return [
            Series(s.probe, s.weights, s.settings, dict(sorted(s.files.items())))
            for s in found.values()
        ]

    @property
    def probes(self) -> list[str]:
        """Labels of what was measured."""
        return sorted({series.probe for series in self.series})

    @property
    def landscapes(self) -> list[int]:
        """Landscape indices k that results speak of."""
        return sorted(
            {int(k) for s in self.series for k in np.atleast_1d(s.last.get("landscape", []))}
        )

    @cached_property
    def checkpoints(self) -> xr.Dataset:
        """Saved checkpoints over `file`: `step` (updates done) and `size` (bytes)."""
        import torch

        files, steps = sorted(self.run.checkpoints.glob("*.ckpt")), []
        for file in files:
            steps.append(
                int(
                    torch.load(file, map_location="cpu", weights_only=True, mmap=True)[
                        "global_step"
                    ]
                )
            )
        sizes = [file.stat().st_size for file in files]
        variables = {
            "step": ("file", np.array(steps, int)),
            "size": ("file", np.array(sizes, int), {"units": "bytes"}),
        }
        return xr.Dataset(variables, {"file": [str(file) for file in files]})

    @property
    def failed(self) -> list[Path]:
        """Files that keep why a measurement failed."""
        return [path for path, head in self._heads.items() if "failed" in head]

    @cached_property
    def skipped(self) -> list[str]:
        """A sentence for every result that is damaged, or whose measurement failed."""
        sentences = [
            f"{path} is damaged ({reason}); remove it and measure again."
            for path, reason in self._scan[1].items()
        ]
        heads = [self._heads[path] for path in self.failed]
        return sentences + [
            f"{head['probe']} at step {head['step']} failed: {head['failed']}" for head in heads
        ]

    def find(self, probe: str, weights: str | None = None, **settings: Any) -> Series:
        """Return the series of a probe.

        Parameters
        ----------
        probe : str
            Its label.
        weights, settings : str | None, Any
            To choose where there are several; names may leave out what stands before the last dot.

        Raises
        ------
        InputError
            If there is no such series, or more than one.
        """
        named = [s for s in self.series if s.probe == probe]
        if not named:
            raise InputError(
                f"run {self.name} holds no result {probe!r}; it has "
                f"{', '.join(self.probes) or 'none yet'}."
            )
        fits = [s for s in named if weights in (None, s.weights) and _agrees(s.settings, settings)]
        if len(fits) == 1:
            return fits[0]
        choices = " | ".join(describe(s, named) for s in named)
        raise InputError(
            f"{len(fits)} series of {probe} in run {self.name} fit; choose with find({probe!r}, "
            f"…): {choices}."
        )

    def __getitem__(self, probe: str) -> xr.Dataset:
        """All results of a probe over `step`, where there is one series of it."""
        return self.find(probe).dataset()

    def _ipython_key_completions_(self) -> list[str]:
        return self.probes

    def __repr__(self) -> str:
        lines = [f"run {self.name} ({self.path})"]
        if self.metrics:
            lines.append(f"  metrics, to step {self.step}: {', '.join(self.metrics)}")
        lines += [f"  {series!r}: {_shape(series.last)}" for series in self.series]
        lines.append(
            "  checkpoints: "
            f"{', '.join(p.name for p in sorted(self.run.checkpoints.glob('*.ckpt'))) or 'none'}"
        )
        lines += [f"  skipped: {sentence}" for sentence in self.skipped]
        return "\n".join(lines)

    def attributes(self, path: Path) -> dict[str, Any]:
        """Return what one of the results is of and what produced it, as its file has it."""
        return self._heads[path]

    @property
    def _heads(self) -> dict[Path, dict[str, Any]]:
        return self._scan[0]

    @cached_property
    def _scan(self) -> tuple[dict[Path, dict[str, Any]], dict[Path, str]]:
        heads, damaged = {}, {}
        for path in self.run.result_files():
            try:
                heads[path] = _head(path)
            except (OSError, KeyError, RuntimeError, ValueError) as error:
                damaged[path] = str(error).splitlines()[0]
        return heads, damaged


def open_results(path: str | Path) -> OpenedRun:
    """Open a run for reading.

    Parameters
    ----------
    path : str | Path
        A run's folder, runs/<experiment>/<name>.

    Returns
    -------
    OpenedRun
        OpenedRun with `metrics`, `series`, `landscapes`, `checkpoints`, `skipped`;
        `opened["hessian_spectrum_y"]` is a labelled dataset over steps.

    Raises
    ------
    InputError
        If the folder is no run.
    """
    return OpenedRun(open_run(path))


def describe(series: Series, among: list[Series]) -> str:
    """Return what sets a series apart from others of the same probe."""
    parts = {"weights": series.weights} | series.settings
    others = [{"weights": s.weights} | s.settings for s in among]
    return (
        ", ".join(f"{k}={v}" for k, v in parts.items() if any(o.get(k) != v for o in others))
        or "the only one"
    )


def _head(path: Path) -> dict[str, Any]:
    """Return what a result is of, without its arrays.

    A file that was cut short cannot be opened and fails here.
    """
    with h5py.File(path) as file:
        head = {name: file.attrs[name] for name in ("probe", "step", "weights", "settings")}
        more = ("failed", "checkpoint", "source", "versions")
        head |= {name: file.attrs[name] for name in more if name in file.attrs}
    return {name: np.asarray(value).ravel()[0] for name, value in head.items()}


def _agrees(settings: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        any((k == name or k.endswith(f".{name}")) and v == value for k, v in settings.items())
        for name, value in wanted.items()
    )


def _shape(result: xr.Dataset) -> str:
    return ", ".join(f"{name} {size}" for name, size in result.sizes.items())

"""One result, one netCDF file, with what produced it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.results.netcdf import as_netcdf


@dataclass(frozen=True)
class ResultKey:
    """What a result is of: probe, step, weights, and all else that set it."""

    name: str
    step: int
    weights: str
    settings: dict[str, Any]

    @property
    def filename(self) -> str:
        """Its file's name; equal keys have equal names, so a result is replaced by itself alone."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:8]
        return f"step-{self.step:08d}_{self.weights}_{digest}.nc"

    def path(self, folder: Path) -> Path:
        """Where its result lies below a folder of results."""
        return folder / self.name / self.filename


def write_result(
    folder: Path, key: ResultKey, result: xr.Dataset, provenance: dict[str, Any]
) -> Path:
    """Write a result below `folder`, atomically.

    Returns
    -------
    Path
        Its path, folder/<name>/step-<step>_<weights>_<digest of the settings>.nc. A finished result
        is never replaced by a failed one.

    Raises
    ------
    RunError
        If the disk is full.
    """
    path = key.path(folder)
    if "failed" in result.attrs and path.exists() and "failed" not in read_result(path).attrs:
        return path
    attributes = {"probe": key.name, "step": key.step, "weights": key.weights}
    record = {"settings": key.settings, **provenance}
    result = result.assign_attrs(
        **attributes, **{name: json.dumps(value) for name, value in record.items()}
    )
    with atomic(path) as temporary:
        temporary.write_bytes(as_netcdf(result))
    return path


def failed_result(reason: str) -> xr.Dataset:
    """Make the result of a measurement that failed: no data, and the reason in `failed`."""
    return xr.Dataset(attrs={"failed": reason})


def is_failed(path: Path) -> bool:
    """Whether a file keeps a measurement that failed, or is none that can be read."""
    try:
        with h5py.File(path) as file:
            return "failed" in file.attrs
    except OSError:
        return True


def read_result(path: Path, names: Sequence[str] | None = None) -> xr.Dataset:
    """Return a result in memory, or only those of the named variables that it has.

    Raises
    ------
    InputError
        If the file is missing or is no netCDF file.
    """
    try:
        return (
            xr.load_dataset(path, engine="h5netcdf") if names is None else _read_some(path, names)
        )
    except FileNotFoundError:
        raise InputError(
            f"result {path} does not exist; `ired runs` lists what there is."
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a readable result ({error}); remove it and measure again."
        ) from None


def _read_some(path: Path, names: Sequence[str]) -> xr.Dataset:
    """Read named variables with their labels, several times faster than a whole dataset."""
    variables: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    with h5py.File(path) as file:
        for name in (n for n in names if n in file):
            scales = [dimension[0] for dimension in file[name].dims]
            dims = tuple(scale.name.lstrip("/") for scale in scales)
            variables[name] = (dims, _values(file[name]))
            labels |= {d: _values(s) for d, s in zip(dims, scales, strict=True) if not _is_bare(s)}
        attributes = {
            name: np.asarray(value).ravel()[0].item()
            for name, value in file.attrs.items()
            if name[0] != "_"
        }
    return xr.Dataset(variables, labels, attributes)


def _is_bare(scale: h5py.Dataset) -> bool:
    """Whether a dimension has a length but no labels."""
    return bytes(scale.attrs.get("NAME", b"")).startswith(
        b"This is a netCDF dimension but not a netCDF variable"
    )


def _values(data: h5py.Dataset) -> np.ndarray:
    values = data.asstr()[()] if h5py.check_string_dtype(data.dtype) else data[()]
    return np.asarray(values)

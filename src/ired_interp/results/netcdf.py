"""A dataset as the bytes of a netCDF-4 file, written by HDF5's own calls."""

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends.common import WritableCFDataStore

from ired_interp.errors import InputError

_UNLABELLED = "This is a netCDF dimension but not a netCDF variable.{:10}"
_CLASHING = "_nc4_non_coord_{}"  # a variable that is called like a dimension and is not its labels
_TEXT = h5py.string_dtype()


def as_netcdf(dataset: xr.Dataset) -> memoryview:
    """Write a dataset to memory: where the disk is full, HDF5 ends the process that writes to it.

    The format is netCDF-4 as the netCDF library defines it on HDF5, with values and attributes as
    xarray encodes them. xarray's own way, through h5netcdf, looks every object up again at every
    access, which takes ten times longer for the dozens of small variables of a result.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of numbers, booleans, times and text; a variable's encoding may name zlib, complevel and
        shuffle.

    Returns
    -------
    memoryview
        The file's bytes.

    Raises
    ------
    InputError
        If something is not what netCDF can hold.
    """
    dataset.dump_to_store(encoded := _Encoded())
    variables = encoded.variables
    sizes = {str(d): n for v in variables.values() for d, n in v.sizes.items()}
    if odd := [name for name in (*variables, *sizes) if "/" in name]:
        raise InputError(
            f"netCDF has no variable or dimension named {odd[0]!r}; leave the '/' out."
        )
    labels = {d for d in sizes if d in variables and variables[d].dims == (d,)}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=True) as file:
        _describe(file, encoded.attributes)
        scales = {d: _unlabelled(file, d, n) for d, n in sizes.items() if d not in labels}
        made = {}
        for name, variable in variables.items():
            clashes = name in sizes and name not in labels
            made[name] = _write(file, _CLASHING.format(name) if clashes else name, variable)
            if name in labels:
                scales[name] = made[name]
                made[name].make_scale(name)
        for number, dimension in enumerate(sizes):
            scales[dimension].attrs["_Netcdf4Dimid"] = np.int32(number)
        for name, variable in variables.items():
            if name not in labels:
                for axis, dimension in enumerate(variable.dims):
                    made[name].dims[axis].attach_scale(scales[dimension])
    return buffer.getbuffer()


class _Encoded(WritableCFDataStore):
    """What xarray would write to a file."""

    def store(self, variables: Any, attributes: Any, *_: Any, **__: Any) -> None:
        """Take a dataset's variables and attributes, encoded by the CF conventions."""
        encode: Any = self.encode
        self.variables, self.attributes = encode(variables, attributes)


def _unlabelled(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    scale = file.create_dataset(name, (size,), ">f4", track_order=True, **_room((size,)))
    scale.make_scale(_UNLABELLED.format(size))
    return scale


def _room(shape: tuple[int, ...]) -> dict[str, Any]:
    """Let dimensions without length be unlimited: netCDF has no others."""
    return {"maxshape": tuple(n or None for n in shape)} if 0 in shape else {}


def _write(file: h5py.File, name: str, variable: xr.Variable) -> h5py.Dataset:
    values, attributes, packing = variable.values, dict(variable.attrs), {}
    if values.dtype.kind not in "OUiufc":
        raise InputError(
            f"variable {name!r} is of {values.dtype}, which netCDF cannot hold; make it numbers or "
            "text."
        )
    if values.dtype.kind in "OU":
        values = values.astype(_TEXT)
    elif "_FillValue" in attributes:
        fill = values.dtype.type(attributes["_FillValue"])
        attributes["_FillValue"] = packing["fillvalue"] = fill
    if variable.encoding.get("zlib"):
        packing |= {"compression": "gzip", "compression_opts": variable.encoding.get("complevel")}
        packing |= {"shuffle": variable.encoding.get("shuffle", False)}
    written = file.create_dataset(
        name, data=values, track_order=True, **packing, **_room(values.shape)
    )
    _describe(written, attributes)
    return written


def _describe(place: h5py.File | h5py.Dataset, attributes: Mapping[Any, Any]) -> None:
    kept = place.attrs
    for name, value in attributes.items():
        found = np.asarray(value)
        if found.dtype.kind == "U":
            kept.create(name, found.astype(object), dtype=_TEXT)
        elif found.dtype.kind in "Siufc":
            kept[name] = np.atleast_1d(found)
        else:
            raise InputError(
                f"attribute {name!r} is {value!r}, which netCDF cannot hold; make it a number, "
                "text, or a list of them."
            )

"""Results are written as xarray writes them, and as the netCDF library wants them."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.results.netcdf import as_netcdf
from ired_interp.results.store import read_result

RANDOM = np.random.default_rng(0)
PACKED = {"zlib": True, "complevel": 9, "shuffle": True}

DATASETS = {
    "a result": xr.Dataset(
        {
            "value": (("landscape", "rank", "problem"), RANDOM.normal(size=(3, 4, 5))),
            "value_mean": (("landscape", "rank"), RANDOM.normal(size=(3, 4)), {"units": "rad²"}),
            "weights": ("layer", [7, 3]),
            "total": ((), 2.5, {"long_name": "of all", "ambient": 16}),
            "label": ("frame", [0, 8000]),
        },
        {"landscape": [2, 1, 0], "layer": ["all", "fc1"], "rank": ("rank", np.arange(1.0, 5))},
        {"probe": "x", "step": 7, "settings": '{"a": [1, "é"]}', "chance": 0.5},
    ),
    "nothing": xr.Dataset(attrs={"failed": "out of memory (é)"}),
    "values that are missing": xr.Dataset(
        {
            "single": ("a", np.array([1, np.nan, np.inf], np.float32)),
            "none": np.nan,
            "filled": ("a", [1, 2, 3], {"_FillValue": 2}),
        },
        {"a": [0.5, np.nan, 2]},
    ),
    "booleans": xr.Dataset({"yes": ("a", [True, False]), "one": True}, {"a": [False, True]}),
    "every width": xr.Dataset(
        {
            name: ("a", np.arange(3).astype(name))
            for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64", ">f8")
        }
    ),
    "complex numbers": xr.Dataset({"root": ("a", np.array([1 + 2j, 3]))}),
    "times": xr.Dataset({"at": ("a", np.array(["2020-01-01", "2021-03-04"], "M8[ns]"))}),
    "text": xr.Dataset(
        {
            "word": ("a", ["é", "", "日本"]),
            "one": "alone",
            "gaps": ("a", np.array(["x", None, "y"], object)),
        },
        attrs={"names": ["x", "yy"], "empty": "", "long": "z" * 100_000},
    ),
    "labels beside dimensions": xr.Dataset(
        {"v": (("a", "b"), RANDOM.normal(size=(2, 3)))},
        {"name": ("a", ["x", "y"]), "place": (("a", "b"), np.ones((2, 3))), "k": 5},
    ),
    "no length": xr.Dataset(
        {"v": (("a", "b"), np.zeros((3, 0))), "w": ("b", np.array([], str))},
        {"b": np.array([], int), "c": ("c", np.array([], float))},
    ),
    "a name that is another's dimension": xr.Dataset(
        {"a": (("a", "b"), RANDOM.normal(size=(2, 3))), "v": ("a", [1, 2])}
    ),
    "odd memory": xr.Dataset(
        {
            "turned": (("a", "b"), np.asfortranarray(RANDOM.normal(size=(3, 4)))),
            "strided": (("a", "c"), RANDOM.normal(size=(3, 4))[:, ::2]),
        }
    ),
    "many attributes": xr.Dataset(
        {"v": ("a", [1.0], {f"of{20 - i}": np.float32(i) for i in range(20)})},
        attrs={f"n{20 - i}": [i, i + 1] for i in range(20)},
    ),
    "many variables": xr.Dataset(
        {f"v{7 * i % 31}": (("a", "b"), RANDOM.normal(size=(10, 4))) for i in range(31)}
    ),
    "what is packed": xr.Dataset(
        {"v": xr.Variable("a", np.arange(40_000.0).round(-2), {"precision": "low"}, PACKED)}
    ),
}


def described(dataset: xr.Dataset) -> list[object]:
    """All that `identical` passes over: orders, types and names of files' own encoding."""
    kept = ("_FillValue", "dtype", "zlib", "shuffle", "units")
    return [list(dataset.sizes), attributes(dataset.attrs), list(dataset.coords)] + [
        (
            name,
            variable.dtype,
            attributes(variable.attrs),
            [repr(variable.encoding.get(setting)) for setting in kept],
        )
        for name, variable in dataset.variables.items()
    ]


def attributes(found: dict) -> list[object]:
    return [(name, type(value), np.asarray(value).dtype) for name, value in found.items()]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_file_reads_as_the_one_that_xarray_writes_and_is_no_larger(
    dataset: xr.Dataset, tmp_path: Path
):
    ours, theirs = tmp_path / "ours.nc", tmp_path / "theirs.nc"
    ours.write_bytes(as_netcdf(dataset))
    dataset.to_netcdf(theirs, engine="h5netcdf")
    found, expected = read_result(ours), xr.load_dataset(theirs, engine="h5netcdf")
    xr.testing.assert_identical(found, expected)
    assert described(found) == described(expected)
    assert ours.stat().st_size <= 1.02 * theirs.stat().st_size + 1024
    again = tmp_path / "again.nc"
    again.write_bytes(as_netcdf(found))  # with the encoding that it was read with
    xr.testing.assert_identical(read_result(again), expected)


def test_single_variables_are_read_with_their_labels(tmp_path: Path):
    dataset, path = DATASETS["a result"], tmp_path / "x.nc"
    path.write_bytes(as_netcdf(dataset))
    names = ["value_mean", "weights", "label", "total", "absent"]
    some = read_result(path, names)
    xr.testing.assert_equal(some, dataset[names[:-1]])
    assert some.attrs == dataset.attrs


def test_dimensions_are_scales_as_netcdf_defines_them():
    dataset = DATASETS["a result"]
    with h5py.File(io.BytesIO(as_netcdf(dataset))) as file:
        assert set(file) == {*dataset.variables, "problem", "frame"}
        assert list(file)[:2] == ["problem", "frame"]  # in the order of creation
        assert list(file)[2:] == list(dataset.variables)
        numbers = {name: int(file[name].attrs["_Netcdf4Dimid"]) for name in dataset.sizes}
        assert sorted(numbers.values()) == list(range(len(dataset.sizes)))
        for name, size in dataset.sizes.items():
            own = file[name].attrs["NAME"].decode()
            bare = f"This is a netCDF dimension but not a netCDF variable.{size:10}"
            assert file[name].is_scale
            assert own == (name if name in dataset.variables else bare)
        for name, variable in dataset.data_vars.items():
            assert [dim[0].name for dim in file[name].dims] == [f"/{d}" for d in variable.dims]
        assert np.isnan(file["value"].fillvalue)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (xr.Dataset({"a/b": 1}), "named 'a/b'"),
        (xr.Dataset({"v": ("a/b", [1])}), "named 'a/b'"),
        (xr.Dataset({"v": ("a", np.array([b"x", b"yy"]))}), r"'v' is of \|S2"),
        (xr.Dataset({"v": 1}, attrs={"done": True}), "'done' is True"),
        (xr.Dataset({"v": ((), 1, {"of": None})}), "'of' is None"),
    ],
)
def test_what_netcdf_cannot_hold_is_refused(dataset: xr.Dataset, message: str):
    with pytest.raises(InputError, match=message):
        as_netcdf(dataset)

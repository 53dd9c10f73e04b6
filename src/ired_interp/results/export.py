"""Results as plain tables, for programs that read no netCDF."""

from pathlib import Path
from typing import Literal

import pandas as pd
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.files import atomic

Format = Literal["csv", "parquet"]


def tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return a dataset as tidy tables, one for each set of dimensions that its variables have.

    Returns
    -------
    dict[str, pd.DataFrame]
        Tables by their dimensions joined with "-" ("landscape", "landscape-problem-rank", …;
        "values" for numbers without any): one column per dimension, one per variable.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, variable in result.data_vars.items():
        groups.setdefault(tuple(map(str, variable.dims)), []).append(str(name))
    found = {}
    for dims, names in groups.items():
        part = result[names].reset_coords(drop=True)
        table = (
            part.to_dataframe(dim_order=list(dims)).reset_index()
            if dims
            else pd.DataFrame({n: [part[n].item()] for n in names})
        )
        found["-".join(dims) or "values"] = table
    return found


def export(result: xr.Dataset, folder: str | Path, format: Format = "csv") -> list[Path]:
    """Write a dataset's tables into a folder.

    Parameters
    ----------
    result : xr.Dataset
        Any result, or a series over steps.
    folder : str | Path
        Where to; each file is named after its table's dimensions.
    format : Format
        "csv", or "parquet" (needs `pip install pyarrow`).

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    InputError
        If the format does not exist or cannot be written here.
    """
    if format not in ("csv", "parquet"):
        raise InputError(f"format {format!r} does not exist; choose 'csv' or 'parquet'.")
    paths = []
    for name, table in tables(result).items():
        path = Path(folder) / f"{name}.{format}"
        with atomic(path) as temporary:
            if format == "csv":
                table.to_csv(temporary, index=False)
            else:
                _write_parquet(table, temporary)
        paths.append(path)
    return paths


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_parquet(path, index=False)
    except ImportError:
        raise InputError(
            "Parquet files need pyarrow, which is not installed; run `pip install pyarrow`."
        ) from None

"""Any other result, as a table: each variable's values by its first dimension, or their range."""

import numpy as np
import pandas as pd
import xarray as xr

from ired_interp.report.collect import Section
from ired_interp.report.figure import Figure

_MOST_ROWS = 60


def figures(section: Section) -> list[Figure]:
    """Return a table of the last result of each run."""
    rows = []
    for group, results in section.last():
        for result in results:
            rows += [
                {"runs": group.name, "step": result.attrs["step"], **row} for row in _rows(result)
            ]
    if not rows:
        return []
    table = pd.DataFrame(rows)
    more = (
        f" The first {_MOST_ROWS} of {len(table)} rows; `ired export` writes all."
        if len(table) > _MOST_ROWS
        else ""
    )
    caption = (
        f"Measured {section.points()}. Variables with further dimensions are given as mean and "
        f"range over these.{more}"
    )
    return [
        Figure(section.probe, section.probe.replace("_", " "), caption, (), table.head(_MOST_ROWS))
    ]


def _rows(result: xr.Dataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, variable in result.data_vars.items():
        if not np.issubdtype(variable.dtype, np.number):
            continue
        first = variable.dims[:1]
        for i in range(variable.sizes[first[0]] if first else 1):
            part = variable.isel({first[0]: i}) if first else variable
            place = (
                f"{first[0]} {part[first[0]].item()}"
                if first and first[0] in part.coords
                else f"{first[0]} {i}"
                if first
                else ""
            )
            values = part.values[np.isfinite(part.values)]
            if values.size:
                row = {
                    "variable": variable.attrs.get("long_name", name),
                    "at": place,
                    "mean": values.mean(),
                    "lowest": values.min(),
                    "highest": values.max(),
                }
                rows.append({**row, "units": variable.attrs.get("units", "")})
    return rows

"""Drift as a table for the terminal."""

import xarray as xr
from rich.table import Table

from ired_interp.probes.tables import with_error
from ired_interp.terminal import render

_HEADINGS = (
    "frame",
    "eigengap",
    "to previous",
    "independent",
    "corrected",
    "to first, corrected",
    "split half",
    "path, rad",
)


def drift_table(result: xr.Dataset, title: str) -> str:
    """Lay out whether each frame is one, and its overlaps with the one before and the first.

    Parameters
    ----------
    result : xarray.Dataset
        As `SubspaceDrift` returns it.
    title : str
        What was followed.

    Returns
    -------
    str
        One row a frame, of each landscape where there are several histories.
    """
    low, high = (float(result["overlap_chance"].isel(bound=i).mean()) for i in (1, 2))
    table = Table(
        title=f"{title}: overlaps (chance {low:.3g} to {high:.3g}) and way; ± standard error"
    )
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    over_training = "landscape" in result["overlap"].dims
    parts = (
        [result.sel(landscape=k) for k in result["landscape"].values] if over_training else [result]
    )
    for part in parts:
        prefix = f"k = {int(part['landscape'])}, step " if over_training else ""
        for i, label in enumerate(part["label"].values):
            before = max(i - 1, 0)
            arbitrary = "identified" in part and not bool(part["identified"][i])
            cells = [
                _cell(part, "eigengap", i) + (" arbitrary" if arbitrary else ""),
                _cell(part, "overlap", i, before),
                _cell(part, "overlap_independent", i, before),
                _cell(part, "overlap_corrected", i, before),
                _cell(part, "overlap_corrected", i, 0),
                _cell(part, "reliability", i),
                _cell(part, "path_length", i),
            ]
            table.add_row(f"{prefix}{label}", *cells)
    return render(table)


def _cell(part: xr.Dataset, name: str, *place: int) -> str:
    if name not in part:
        return "–"
    error = part.get(f"{name}_error")
    return with_error(float(part[name][place]), None if error is None else float(error[place]))

"""Drift as a table for the terminal."""

import xarray as xr
from rich.table import Table

from ired_interp.terminal import render

_HEADINGS = (
    "frame",
    "to previous",
    "independent",
    "corrected",
    "to first, corrected",
    "split half",
    "rad to previous",
    "split half",
)


def drift_table(result: xr.Dataset, title: str) -> str:
    """Lay out overlaps with, and distances from, the frame before and the first.

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
    table = Table(title=f"{title}: overlaps (chance {low:.3g} to {high:.3g}) and distances")
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
            pairs = ("overlap", "overlap_independent", "overlap_corrected")
            cells = [
                *(part[name][i, before] for name in pairs),
                part["overlap_corrected"][i, 0],
                part["reliability"][i],
                part["geodesic"][i, before],
                part["geodesic_split_half"][i],
            ]
            table.add_row(f"{prefix}{label}", *(f"{float(cell):.3f}" for cell in cells))
    return render(table)

"""Spectra in θ as tables for the terminal."""

import xarray as xr
from rich.table import Table

from ired_interp.probes.theta_spectrum import MIXED

_COLUMNS = {
    "lambda_min": "λ_min",
    "lambda_max": "λ_max",
    "found": "converged",
    "residual": "worst residual/|λ|",
    "negative_share": "negative",
    "effective_rank": "eff. rank",
    "trace": "trace",
    "trace_low": "95 % from",
    "trace_high": "to",
}
_FORMATS = {
    "found": ".1%",
    "negative_share": ".1%",
    "effective_rank": ".1f",
    "residual": ".3g",
    "trace": ".3g",
    "trace_low": ".3g",
    "trace_high": ".3g",
}
_LAYER_COLUMNS = (
    "k",
    "layer",
    "parameters",
    "λ_min",
    "λ_max",
    "trace",
    "gradient in top",
    "‖H_aa‖_F",
    "beside it",
)


def spectrum_table(result: xr.Dataset, title: str) -> Table:
    """One row for each landscape.

    Parameters
    ----------
    result : xarray.Dataset
        Of `HessianSpectrumTheta`.
    title : str
        Of the table.

    Returns
    -------
    rich.table.Table
        Ends of the spectrum, how well they are known, shares, density and trace; its caption says
        what residuals do not prove and whose step the update is.
    """
    result = result.assign(
        lambda_min=result["eigenvalues"].min("rank"),
        lambda_max=result["eigenvalues"].max("rank"),
        residual=(result["residuals"] / abs(result["eigenvalues"])).max("rank"),
        found=result["converged"].mean("rank"),
    )
    columns = {name: heading for name, heading in _COLUMNS.items() if name in result}
    table = Table(title=f"{title}, {int(result['parameters'][0])} parameters")
    for heading in ("k", *columns.values()):
        table.add_column(heading, justify="right")
    shares = [n for n in ("gradient", "update") if f"{n}_in_top" in result]
    for name in shares:
        heading = f"{name} in top {int(result['top'][0])} (random signs)"
        table.add_column(heading, justify="right")
    for i, k in enumerate(result["landscape"].values):
        cells = (f"{float(result[name][i]):{_FORMATS.get(name, '.3f')}}" for name in columns)
        texts = (_share_text(result.isel(landscape=i), name) for name in shares)
        table.add_row("mixed" if k == MIXED else str(k), *cells, *texts)
    said = [
        f"{'mixed' if k == MIXED else f'k={k}'}: {notes}"
        for k, notes in zip(result["landscape"].values, result["notes"].values, strict=True)
        if notes
    ]
    said.append(f"update: {result.attrs['update']}")
    table.caption = "\n".join(said)
    return table


def layers_table(result: xr.Dataset) -> Table:
    """One row for each landscape and layer.

    Parameters
    ----------
    result : xarray.Dataset
        Of `measure_layers`, over landscape.

    Returns
    -------
    rich.table.Table
        Ends of the spectrum, trace, share of the gradient, and the Frobenius norms of the layer's
        block and of what lies beside it in its rows.
    """
    table = Table(title="Diagonal blocks of single layers")
    for heading in _LAYER_COLUMNS:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for k in result["landscape"].values:
        for layer in result["layer"].values:
            here = result.sel(landscape=k, layer=layer)
            values, row = here["layer_eigenvalues"], here["block_squares"]
            own = float(row.sel(other_layer=layer))
            table.add_row(
                "mixed" if k == MIXED else str(k),
                str(layer),
                str(int(here["layer_parameters"])),
                *(f"{float(value):.3g}" for value in (values.min(), values.max())),
                f"{float(here['layer_trace']):.3g}" if "layer_trace" in here else "",
                f"{float(here['layer_gradient_in_top']):.1%}",
                f"{own**0.5:.3g}",
                f"{max(0.0, float(row.sum()) - own) ** 0.5:.3g}",
            )
    return table


def _share_text(result: xr.Dataset, name: str) -> str:
    """Share in the top eigenspace, its error if known, and what random signs would give."""
    shares = f"{name}_in_top"
    error = f" ± {float(result[f'{shares}_error']):.1%}" if f"{shares}_error" in result else ""
    return f"{float(result[shares]):.1%}{error} ({float(result[f'{shares}_chance']):.1%})"

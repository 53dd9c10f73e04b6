"""Spectra of the Hessian's diagonal blocks, layer by layer, and the size of all its blocks."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr
from torch import Tensor

from ired_interp.probes.theta_eigenpairs import Settings
from ired_interp.probes.theta_spectrum import measure_operator
from ired_interp.spectra import HessianOperator, block_norms

_PRODUCTS = 10  # of each layer, for the norms of blocks


def measure_layers(
    operator: HessianOperator,
    settings: Settings,
    memory: float,
    scratch: Path | None,
    steps: Mapping[str, Tensor] | None = None,
) -> xr.Dataset:
    """Measure each layer's block as `measure_operator` does the whole, and the norms of all blocks.

    Parameters
    ----------
    operator : HessianOperator
        Of all weights.
    settings, memory, scratch, steps
        As in `measure_operator`.

    Returns
    -------
    xarray.Dataset
        Over layer, what `measure_operator` names with `layer_` before it, NaN where a layer has
        fewer weights than eigenpairs are asked for; over layer and other_layer, `block_squares`,
        ‖H_ab‖_F², unbiased, with its standard error `block_squares_error`.
    """
    norms = block_norms(operator, products=_PRODUCTS, seed=settings.seed)
    operator.release()
    blocks, parts, layers = operator.layers(), [], list(norms.names)
    for layer in layers:
        block = blocks.pop(layer)  # whose graph is let go before the next one's is built
        folder = scratch / f"layer_{layer}" if scratch else None
        parts.append(measure_operator(block, settings, memory, folder, steps))
    result = xr.concat(
        parts,
        "layer",
        join="outer",
        coords="minimal",
        compat="override",
        data_vars="all",
        fill_value={"converged": False},
    )
    result = result.rename({name: f"layer_{name}" for name in result.data_vars})
    result = result.assign_coords(layer=layers, other_layer=layers)
    pair, units = ("layer", "other_layer"), {"units": "objective² / θ⁴"}
    result["block_squares"] = pair, norms.squares.numpy(), {"long_name": "‖H_ab‖_F²", **units}
    result["block_squares_error"] = pair, norms.errors.numpy(), units
    result["block_matvecs"] = norms.matvecs
    return result

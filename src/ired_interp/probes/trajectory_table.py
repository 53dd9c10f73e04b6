"""What `inference_trajectory` found, as a table for the terminal."""

import xarray as xr

from ired_interp.probes.tables import estimate_table


def trajectory_table(result: xr.Dataset) -> str:
    """Return one row a landscape, and of matrices a second table of their shape."""
    last, first = result.isel(inner_step=-1), result.isel(move=0)
    moves = result["acceptance"].mean("move")
    columns: dict[str, tuple[xr.DataArray, xr.DataArray | None]] = {
        "energy": (last["energy_mean"], last["energy_mean_error"]),
        "‖∇E‖": (last["gradient_norm_mean"], last["gradient_norm_mean_error"]),
        "error": (last["error_mean"], last["error_mean_error"]),
        "accepted": (moves, result["acceptance_error"].mean("move")),
        "contraction": (first["contraction"], first["contraction_error"]),
        "of g": (first["gradient_contraction"], first["gradient_contraction_error"]),
        "1 − ηλ": (first["predicted_contraction"], first["predicted_contraction_error"]),
    }
    if "theory_contraction" in result:
        columns["theory"] = (first["theory_contraction"].mean("bound"), None)
    title = f"Inference on {result.sizes['problem']} problems: end of each landscape; "
    title += "contraction of its first inner step; ± standard error over problems"
    found = estimate_table(title, result["landscape"].values, columns)
    if "effective_rank" not in result:
        return found
    name = "effective_rank_mean"
    shape = {"effective rank": (last[name], last[f"{name}_error"])}
    title = "Solutions as matrices"
    if "normal_ratio" in result:
        name, chance = "normal_ratio_mean", float(result["normal_ratio_chance"])
        title += f"; gradient across / along their rank, by chance {chance:.3g}"
        shape["across / along"] = (last[name], last[f"{name}_error"])
    return found + estimate_table(title, result["landscape"].values, shape)

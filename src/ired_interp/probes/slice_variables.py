"""Labelled slices: mean lines, curvature, and what a quadratic leaves."""

from typing import Any

import numpy as np

from ired_interp.probes.spread import mean_error, ratio_of_means

_NATS = {"units": "nats", "long_name": "rise of E/σ"}
_UNIT = {"units": "1"}


def slice_variables(found: dict[str, np.ndarray], a: np.ndarray) -> dict[str, Any]:
    """Label what was measured along lines.

    Parameters
    ----------
    found : dict of str to ndarray
        `rise` (K, families, C, B, a) in nats along C directions of B problems, `bend` and `steep`
        (K, families, C, B), their second and first derivatives, and `slice` (K, families, a, b);
        of a perfect model with `theory_` before the name.
    a : ndarray (a,)
        Places on a line, in standard deviations of the noise.

    Returns
    -------
    dict
        Variables of a dataset; see `Slice`.
    """
    dims = ("landscape", "family")
    variables: dict[str, Any] = {}
    for prefix in ("", "theory_") if "theory_rise" in found else ("",):
        rise = found[prefix + "rise"]  # (K, F, C, B, a)
        bent, steep = (found[prefix + name][..., None] for name in ("bend", "steep"))
        apart = rise - a * steep - a**2 * bent / 2
        # Of each problem, as sums of squares over problems are those of a few of them.
        anharmonicity = ratio_of_means(*(np.sqrt((p**2).mean((2, 4))) for p in (apart, rise)))
        line, curved = rise.mean(2), bent[..., 0].mean(2)
        fit = 2 * (rise * a**2).sum(-1) / (a**4).sum()
        values = {
            "line": ((*dims, "a"), line.mean(2), _NATS),
            "slice": ((*dims, "a", "b"), found[prefix + "slice"], _NATS),
            "curvature": (dims, curved.mean(2), _UNIT),
            "curvature_fit": (dims, fit.mean((2, 3)), _UNIT),
            "anharmonicity": (dims, anharmonicity[0], _UNIT),
        }
        if not prefix:
            values["line_error"] = ((*dims, "a"), mean_error(line.swapaxes(2, 3)), _NATS)
            values["curvature_error"] = (dims, mean_error(curved), _UNIT)
            values["anharmonicity_error"] = (dims, anharmonicity[1], _UNIT)
        variables |= {prefix + name: value for name, value in values.items()}
    return variables

"""How figures look: colours that stay apart for every kind of colour vision and on any ground."""

import re
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK, MUTED, GRID = "#1b1f24", "#68707a", "#dde1e6"

# Okabe and Ito 2008, the darker ones first; beside each its counterpart on dark ground.
_SERIES = {
    "#0072b2": "#5db4f0",
    "#d55e00": "#ff9a57",
    "#009e73": "#3ccf9f",
    "#aa4a86": "#e79fc8",
    "#b07a00": "#efc04d",
    "#3f8fbf": "#a5d8f7",
}
_INKS = {INK: "#e8ebef", MUTED: "#a0a9b4", GRID: "#363d47"}
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)))

WIDTH, HEIGHT = 3.6, 2.75  # inches, of one panel

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "ired",
    "figure.constrained_layout.use": True,
    "mathtext.default": "regular",
}


def series_colour(index: int) -> str:
    """Return the colour of a group of runs."""
    return list(_SERIES)[index % len(_SERIES)]


def series_line(index: int) -> dict[str, Any]:
    """Return colour, marker and dashes of one of any number of lines, as arguments of `plot`."""
    dash = DASHES[index // len(MARKERS) % len(DASHES)]
    marker = MARKERS[index % len(MARKERS)]
    return {"color": series_colour(index), "marker": marker, "linestyle": dash}


def landscape_colour(k: int, landscapes: int) -> str:
    """Return the colour of landscape k: dark for the sharpest, light for the smoothest.

    On dark ground it is the other way round.
    """
    return to_hex(colormaps["viridis"](0.82 * k / max(1, landscapes - 1)))


def on_dark(svg: str) -> dict[str, str]:
    """Return the colours that an SVG uses, each with its counterpart on dark ground."""
    return {
        colour: _DARK[colour]
        for colour in sorted(set(re.findall(r"#[0-9a-f]{6}\b", svg)))
        if colour in _DARK
    }


def _ramp() -> dict[str, str]:
    return {
        landscape_colour(k, count): to_hex(
            colormaps["viridis"](0.36 + 0.64 * k / max(1, count - 1))
        )
        for count in range(1, 33)
        for k in range(count)
    }


_DARK = _SERIES | _INKS | _ramp()


def log_if_positive(axes: Axes, axis: str, *values: Any) -> None:
    """Make an axis logarithmic where values are positive and span more than a factor of five."""
    joined = (
        np.concatenate([np.ravel(np.asarray(v, float)) for v in values]) if values else np.array([])
    )
    joined = joined[np.isfinite(joined)]
    if joined.size and joined.min() > 0 and joined.max() / joined.min() > 5:
        getattr(axes, f"set_{axis}scale")("log")
        plain_log_ticks(axes, axis)


def plain_log_ticks(axes: Axes, axis: str) -> None:
    """Write a logarithmic axis' ticks as numbers rather than powers.

    Where there are few decades, a few stand between them.
    """
    target = getattr(axes, f"{axis}axis")
    low, high = sorted(getattr(axes, f"get_{axis}lim")())
    reach = high / low if low > 0 else np.inf
    subs = (
        (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if reach < 12 else (1.0, 2.0, 5.0) if reach < 300 else (1.0,)
    )
    target.set_major_locator(LogLocator(subs=subs, numticks=9))
    target.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if 1e-4 <= value < 1e5 else f"{value:.0e}")
    )
    target.set_minor_formatter(NullFormatter())

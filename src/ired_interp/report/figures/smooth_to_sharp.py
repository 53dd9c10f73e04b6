"""From the smoothest landscape to the sharpest: all probes side by side, and what emerges where."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, legend, with_bars
from ired_interp.report.quantities import QUANTITIES, Curve
from ired_interp.report.smooth_to_sharp import Curves, curves, emergence_of
from ired_interp.report.style import MARKERS, MUTED, log_if_positive, series_colour

_NAME = "smooth_to_sharp"


def figures(found: Sequence[Section]) -> list[Figure]:
    """Draw quantities of several probes over landscapes, and the points at which they emerge."""
    read = curves(found)
    if len({quantity.probe for quantity in read}) < 2:
        return []
    joined = emergence_of(read)
    groups = sorted({g.index: g for every in read.values() for g, _ in every}.items())
    named = [group for _, group in groups]
    panels = [
        Panel(quantity.title, _panel(quantity.title, every)) for quantity, every in read.items()
    ]
    caption = (
        "What all probes say of one landscape after the other, on the problems and at the points "
        "that their own sections below name; left the smoothest, right the sharpest. σλ: mean "
        "curvature, 1 where the answer is fixed; κ: the same in planes of directions; ⟨g, ε⟩/d: "
        "gradient along the noise; calibration: predicted over measured error; dimension: d − σ tr "
        "H; minimum off y*: relative to ‖y*‖; spread of starts and answer error: per entry; D: the "
        "denoised answer, its effective rank the participation ratio; CKA: of tangent kernels. "
        "Short bars: a perfect model; dotted: chance. Bars: two standard errors over problems, of "
        f"several runs the range.{_not_shown(read)}"
    )
    return [
        Figure(_NAME, "From smooth to sharp", caption, panels, _table(joined)),
        Figure(
            f"{_NAME}-emergence",
            "What emerges where",
            "Of each quantity, the landscape from which on it stays past half-way from chance, or "
            "without one from its value in the smoothest landscape, to the sharpest one; at the "
            "left edge, it is past in all. Bars: 95 % interval over problems and runs. Not shown: "
            "what does not change by more than that interval, or for the worse.",
            [Panel("passes half-way at", _points(joined, named), _height(joined))],
            _point_table(joined),
        ),
    ]


def _height(joined: xr.Dataset) -> float:
    return max(0.7, 0.25 + 0.05 * joined.sizes["quantity"] * (1 + joined.sizes["group"]))


def _panel(title: str, every: Sequence[tuple[Group, list[Curve]]]) -> Callable[[Axes], None]:
    data = [(group, [_dataset(curve) for curve in mine]) for group, mine in every]
    chance = data[0][1][0]["chance"]

    def draw(axes: Axes) -> None:
        if chance.notnull().any():
            axes.plot(chance["landscape"], chance, ":", color=MUTED, linewidth=1.2, label="chance")
        by_landscape(axes, data, "value", title, "truth" if _known(data) else None)
        values = [r[name].values for _, mine in data for r in mine for name in ("value", "chance")]
        log_if_positive(axes, "y", *values)
        axes.set_xlabel("landscape k (right: sharpest)")
        axes.invert_xaxis()

    return draw


def _known(data: Sequence[tuple[Group, list[xr.Dataset]]]) -> bool:
    return any(bool(r["truth"].notnull().any()) for _, mine in data for r in mine)


def _dataset(curve: Curve) -> xr.Dataset:
    parts = {
        "value": curve.values,
        "value_error": curve.errors,
        "truth": curve.truth,
        "chance": curve.chance,
    }
    return xr.Dataset(
        {name: ("landscape", part) for name, part in parts.items()}, {"landscape": curve.landscapes}
    )


def _points(joined: xr.Dataset, groups: Sequence[Group]) -> Callable[[Axes], None]:
    shown = joined.sel(quantity=joined["emergence"].notnull().any("group"))
    titles = [str(title) for title in shown["title"].values]

    def draw(axes: Axes) -> None:
        place = np.arange(len(titles))[::-1].astype(float)
        for i, group in enumerate(groups):
            one = shown.sel(group=group.name)
            k = one["emergence"].values
            bars = np.abs(np.stack([one["emergence_low"], one["emergence_high"]]) - k)
            with_bars(
                axes,
                k,
                place - (i - (len(groups) - 1) / 2) * 0.6 / len(groups),
                np.nan_to_num(bars),
                across=True,
                color=series_colour(group.index),
                marker=MARKERS[group.index % len(MARKERS)],
                linestyle="none",
                label=group.name,
            )
        axes.set_yticks(place, titles)
        axes.set_ylim(-0.6, len(titles) - 0.4)
        k = shown["landscape"].values
        axes.set_xticks(k)
        axes.set_xlim(k.max() + 0.3, k.min() - 0.3)
        axes.set_xlabel("landscape k (right: sharpest)")
        legend(axes, groups)

    return draw


def _table(joined: xr.Dataset) -> pd.DataFrame:
    """One row a group and landscape, the smoothest first."""
    rows = []
    for name in joined["group"].values:
        one = joined.sel(group=name).sortby("landscape", ascending=False)
        one = one.sel(quantity=one["value"].notnull().any("landscape"))
        for k in one["landscape"].values:
            row: dict[str, object] = {"runs": str(name), "k": int(k)}
            for quantity in one["quantity"].values:
                here, title = (
                    one.sel(quantity=quantity),
                    str(one["title"].sel(quantity=quantity).item()),
                )
                row[title] = float(here["value"].sel(landscape=k))
                row[f"± {title}"] = float(here["value_error"].sel(landscape=k))
                for part, heading in (("truth", "perfect"), ("chance", "chance")):
                    if here[part].notnull().any():
                        row[f"{heading}: {title}"] = float(here[part].sel(landscape=k))
            rows.append(row)
    return pd.DataFrame(rows)


def _point_table(joined: xr.Dataset) -> pd.DataFrame:
    rows = []
    for quantity in joined["quantity"].values:
        for name in joined["group"].values:
            here = joined.sel(quantity=quantity, group=name)
            curve = here["value"].dropna("landscape").sortby("landscape")
            if curve.sizes["landscape"]:
                first, last = (int(curve["landscape"][i]) for i in (-1, 0))
                rows.append(
                    {
                        "quantity": str(here["title"].item()),
                        "runs": str(name),
                        "chance": float(here["chance"].sel(landscape=last)),
                        "smoothest": float(curve.sel(landscape=first)),
                        "sharpest": float(curve.sel(landscape=last)),
                        "passes half-way at k": float(here["emergence"]),
                        "from": float(here["emergence_low"]),
                        "to": float(here["emergence_high"]),
                    }
                )
    return pd.DataFrame(rows)


def _not_shown(read: Curves) -> str:
    """Say which quantities need a probe that was not run."""
    measured = {quantity.probe for quantity in read}
    missing: dict[str, list[str]] = {}
    for quantity in QUANTITIES:
        if quantity.probe not in measured and quantity.name != "curvature_to_theory":
            missing.setdefault(quantity.probe, []).append(quantity.title)
    if not missing:
        return ""
    named = "; ".join(f"{', '.join(titles)} ({probe})" for probe, titles in missing.items())
    return f" Not measured: {named}; ired probe --ckpt RUN --probes {' '.join(missing)}."

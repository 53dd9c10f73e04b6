"""What all probes say of the landscapes, smoothest to sharpest, and where each thing emerges."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.report.collect import Group, Section, group_runs, sections
from ired_interp.report.half_way import mean_of_runs, passing
from ired_interp.report.quantities import QUANTITIES, Curve, Quantity
from ired_interp.results import OpenedRun, open_results

Curves = dict[Quantity, list[tuple[Group, list[Curve]]]]


def emergence(*runs: OpenedRun | Path | str) -> xr.Dataset:
    """Gather what was measured of every landscape, and find where each quantity emerges.

    Parameters
    ----------
    *runs : OpenedRun or path
        Runs, or their folders. Those that differ in their seed alone become one group, a mean over
        its runs.

    Returns
    -------
    xarray.Dataset
        As follows, over `group` (its runs' name), `quantity` and `landscape`; NaN where something
        was not measured. Per problem, the quantities are those of `curvature`, `minimum`,
        `gradient_statistics_y`, `gradient_field`, `effective_rank` and `tangent_kernel`; `probe`
        and `title` say whose each is and how the report calls it.

        ================== ============================ ============================================
        variable           dims                         meaning
        ================== ============================ ============================================
        `value`, `…_error` group, quantity, landscape   last measured, with its standard error over
                                                        problems and runs
        `truth`            group, quantity, landscape   of a perfect model, where known
        `chance`           group, quantity, landscape   of a model that knows nothing
        `emergence`,       group, quantity              k from which on it stays past half-way from
        `…_low`, `…_high`                               chance (where it has none, from its value in
                                                        the smoothest landscape) to its value in the
                                                        sharpest, with its 95 % interval, from
                                                        random halves of the problems and runs drawn
                                                        again; the smoothest where it is past in
                                                        all; NaN where it does not change that way
        ================== ============================ ============================================

    Raises
    ------
    InputError
        If there is no run, or none has such a result.
    """
    opened = [run if isinstance(run, OpenedRun) else open_results(run) for run in runs]
    groups = group_runs(opened)
    found = curves(sections(groups, []))
    if not found:
        raise InputError(
            "nothing was measured of these runs that says something of every landscape; measure "
            "with ired probe --ckpt RUN --probes curvature minimum."
        )
    return emergence_of(found)


def curves(found: Sequence[Section]) -> Curves:
    """Read every quantity's curves, by group; those that no run has are left out.

    Where a run has several measurements by one probe, that of all landscapes at the noised answer
    counts before others.
    """
    read: Curves = {}
    results = {probe: _results(found, probe) for probe in {q.probe for q in QUANTITIES}}
    for quantity in QUANTITIES:
        every = [
            (group, [c for r in mine if (c := quantity.curve(r)) is not None])
            for group, mine in results[quantity.probe]
        ]
        if kept := [(group, mine) for group, mine in every if mine]:
            read[quantity] = kept
    if any(quantity.name == "scaled_curvature" for quantity in read):
        read = {
            quantity: c for quantity, c in read.items() if quantity.name != "curvature_to_theory"
        }
    return read


def _results(found: Sequence[Section], probe: str) -> list[tuple[Group, list[xr.Dataset]]]:
    mine: dict[int, tuple[Group, list[xr.Dataset]]] = {}
    for section in sorted((s for s in found if s.probe == probe), key=_order):
        for group, results in section.last():
            mine.setdefault(group.index, (group, results))
    return [mine[index] for index in sorted(mine)]


def _order(section: Section) -> tuple[bool, ...]:
    settings = section.settings
    return (
        settings.get("probe.landscapes", "all") != "all",
        settings.get("probe.point", "noised") != "noised",
        section.weights != "average",
    )


def emergence_of(found: Curves) -> xr.Dataset:
    """Join curves as `emergence` returns them."""
    rows = [
        xr.concat(
            [_joined(c, quantity.sign).assign_coords(group=group.name) for group, c in every],
            "group",
            join="outer",
        ).assign_coords(quantity=quantity.name)
        for quantity, every in found.items()
    ]
    joined = xr.concat(rows, "quantity", join="outer")
    groups = {group.index: group.name for every in found.values() for group, _ in every}
    joined = joined.sel(group=[groups[index] for index in sorted(groups)])
    return joined.assign_coords(
        title=("quantity", [quantity.title for quantity in found]),
        probe=("quantity", [quantity.probe for quantity in found]),
    )


def _joined(curves: Sequence[Curve], sign: int) -> xr.Dataset:
    """Mean of runs over the landscapes that all have."""
    k = curves[0].landscapes
    for curve in curves[1:]:
        k = np.intersect1d(k, curve.landscapes)
    values, draws, truth, chance = (
        np.stack([getattr(c, name)[..., np.isin(c.landscapes, k)] for c in curves])
        for name in ("values", "draws", "truth", "chance")
    )
    value, chance, drawn = values.mean(0), chance.mean(0), mean_of_runs(draws)
    point = passing(k, value, drawn, chance, sign)
    return xr.Dataset(
        {
            "value": ("landscape", value),
            "value_error": ("landscape", drawn.std(0)),
            "truth": ("landscape", truth.mean(0)),
            "chance": ("landscape", chance),
            "emergence": ((), point.k),
            "emergence_low": ((), point.low),
            "emergence_high": ((), point.high),
        },
        {"landscape": k},
    )

"""Patching: which path, subspace, unit or landscape carries what an energy knows."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from ired_interp.energy.mlp import MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.corruptions import (
    ANSWER,
    EIGENVALUE,
    ENTRY,
    NOISE,
    PROBLEM,
    ROW,
    SHARPER,
    SMOOTHER,
    corruptions,
    evaluation,
)
from ired_interp.probes.landscape_patches import WHICH, landscape_restored
from ired_interp.probes.part_patches import PLANES, Layer, part_restored, parts_of
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_seed,
    few_landscapes,
)
from ired_interp.probes.site_patches import METRICS, restored, run
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.terminal import track

_LEAST = 8
SITES = ("x_path", "y_path", "mod2", "mod3", "mod2 + mod3", "u1", "h2", "h3", "o")
DIRECTIONS = ("sufficient", "necessary")


class Patching(Probe):
    """Put values of one evaluation into another, and see how much of the difference follows.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    layer : str
        Whose subspaces and units are patched: "h1", "h2" or "h3".
    seed : int
        Of noise, start, and random planes and orders.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "patching"

    def __init__(self, landscapes: Landscapes = "all", layer: Layer = "h3", seed: int = 0) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "layer", layer, Layer)
        check_seed(self.name, seed)
        self.landscapes, self.layer, self.seed = landscapes, layer, seed

    def check(self, module: IREDModule) -> None:
        """Refuse an energy without sites, and landscapes that it has not; see `Probe.check`."""
        check_sites(self.name, module)
        chosen_landscapes(module, self.landscapes)

    @property
    def least_problems(self) -> int:
        """Two halves, and something to scatter."""
        return _LEAST

    def small(self) -> "Patching":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems, at least 8.

        Returns
        -------
        xarray.Dataset
            As follows. A clean evaluation is of problem, noised answer and landscape; corrupted,
            it has another one of these or a part of the problem changed, see
            `corruptions.corruptions`; NaN where there is no smoother or no sharper landscape.
            "sufficient" puts clean values into the corrupted one, "necessary" corrupted ones into
            the clean one. Shares are as `site_patches.restored` has them; `…_error` is a standard
            error over problems.

            ============================= ===================== ====================================
            variable                      dims                  meaning
            ============================= ===================== ====================================
            `restored`, `…_error`         landscape,            share of the difference that follows
                                          corruption, site,     a site, or two together
                                          direction, metric
            `restored_truth`              corruption, site,     what it must be in any such network,
                                          metric                where it must be something
            `part_restored`, `…_error`    landscape, plane,     the same of E and the corruption
                                          size                  "problem", sufficient, of a layer's
                                                                part: "leading" differences, "random
                                                                plane", "complement" of the leading,
                                                                "units" by attribution, "random
                                                                units"; chosen on half of the
                                                                problems, measured on the other
            `part_restored_chance`        size                  size/h, of a linear readout
            `landscape_restored`,         landscape, which      share of the answer's error made up
            `…_error`                                           by seeing the right problem in this
                                                                landscape alone, or in this and all
                                                                smoother ones; NaN where it makes
                                                                answers no better
            ============================= ===================== ====================================

        Raises
        ------
        InputError
            If there are fewer than 8 problems, or the model does not fit (see `check`).
        RunError
            If an energy is not finite.
        """
        self.check(snapshot.module)
        if len(snapshot.batch.y) < _LEAST:
            raise InputError(
                f"{self.name} has {len(snapshot.batch.y)} problems; give it at least {_LEAST}."
            )
        module = snapshot.module
        landscapes = chosen_landscapes(module, self.landscapes)
        shares, parts, kinds = [], [], corruptions(snapshot)
        for k in track(landscapes, "patching"):
            shares.append([self._sites(snapshot, k, how) for how in kinds])
            clean, corrupted = (evaluation(snapshot, k, h, self.seed) for h in (None, PROBLEM))
            assert clean is not None
            assert corrupted is not None
            parts.append(part_restored(module.free(), clean, corrupted, self.layer, self.seed))
        found, unit = np.array(shares), {"units": "1"}  # (K, corruptions, sites, ways, metrics, 2)
        dims = ("landscape", "corruption", "site", "direction", "metric")
        planes, places = np.array(parts), ("landscape", "plane", "size")
        width = self._width(module)
        sizes = parts_of(width)
        variables: dict[str, Any] = {
            "restored": (dims, found[..., 0], unit),
            "restored_error": (dims, found[..., 1], unit),
            "restored_truth": (("corruption", "site", "metric"), _truth(module, kinds), unit),
            "part_restored": (places, planes[..., 0], unit),
            "part_restored_error": (places, planes[..., 1], unit),
            "part_restored_chance": ("size", np.array(sizes) / width, unit),
        }
        variables |= landscape_restored(snapshot, landscapes, self.seed)
        coordinates = {
            "landscape": landscapes,
            "corruption": kinds,
            "site": list(SITES),
            "direction": list(DIRECTIONS),
            "metric": list(METRICS),
            "plane": list(PLANES),
            "size": sizes,
            "which": list(WHICH),
        }
        return xr.Dataset(variables, coordinates, {"layer": self.layer})

    @staticmethod
    def _width(module: IREDModule) -> int:
        assert isinstance(module.energy, MLPEnergy)
        return module.energy.width

    def _sites(self, snapshot: Snapshot, k: int, corruption: str) -> list[list[list[Any]]]:
        """Find share and error of each site, direction and metric; NaN without the landscape.

        Raises
        ------
        RunError
            If an energy is not finite.
        """
        energy = snapshot.module.free()
        every = [evaluation(snapshot, k, how, self.seed) for how in (None, corruption)]
        inputs = [each for each in every if each is not None]
        if len(inputs) < 2:
            return [[[(np.nan, np.nan)] * len(METRICS)] * len(DIRECTIONS)] * len(SITES)
        runs = [run(energy, *each) for each in inputs]
        if not all(one.energy.isfinite().all() for one in runs):
            raise RunError(f"an energy of landscape {k} is not finite; the weights have diverged.")
        found = []
        for site in SITES:
            names = site.split(" + ")
            ways = []
            for start, end in ((1, 0), (0, 1)):
                values = {name: runs[end].sites[name] for name in names}
                patched = run(energy, *inputs[start], values)
                shares = restored(patched, runs[start], runs[end])
                ways.append([shares[metric] for metric in METRICS])
            found.append(ways)
        return found

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        part = result.sel(direction="sufficient", metric="gradient")
        columns: dict[str, Column] = {}
        for corruption, site in (
            (PROBLEM, "x_path"),
            (SMOOTHER, "mod2"),
            (SMOOTHER, "mod3"),
        ):
            one = part.sel(corruption=corruption, site=site)
            columns[f"{corruption}: {site}"] = (one["restored"], one["restored_error"])
        for which in WHICH:
            alone = result.sel(which=which)
            columns[which] = (alone["landscape_restored"], alone["landscape_restored_error"])
        title = (
            "Share of the gradient's difference that follows a site, and of the answer's error "
            "made up by seeing the problem in a landscape; ± standard error over problems"
        )
        return estimate_table(title, result["landscape"].values, columns)


def check_sites(probe: str, module: IREDModule) -> None:
    """Refuse an energy without named values between its layers.

    Raises
    ------
    InputError
        Unless it is an MLPEnergy.
    """
    if not isinstance(module.energy, MLPEnergy):
        raise InputError(
            f"{probe} reads values between the layers of an MLPEnergy; "
            f"{type(module.energy).__name__} has no such sites."
        )


def _truth(module: IREDModule, kinds: list[str]) -> np.ndarray:
    """Say what a chain without skip connections must restore (corruption, site, metric)."""
    assert isinstance(module.energy, MLPEnergy)
    ways = {how: {"x_path"} for how in (PROBLEM, ENTRY, ROW, EIGENVALUE)}
    ways |= {how: {"y_path"} for how in (ANSWER, NOISE)}
    if module.energy.schedule is None:  # else x is scaled by the landscape, too
        ways |= {how: {"mod2", "mod3"} for how in (SMOOTHER, SHARPER)}
    held = module.fixed(torch.zeros(1, module.condition_dim)) is not None
    truth = np.full((len(kinds), len(SITES), len(METRICS)), np.nan)
    for i, corruption in enumerate(kinds):
        for j, site in enumerate(SITES):
            names = set(site.split(" + "))
            if site in ("h3", "o"):
                truth[i, j, 0] = 1.0
            elif site in ("u1", "h2"):
                if corruption not in (SMOOTHER, SHARPER):
                    truth[i, j, 0] = 1.0
            elif corruption in ways and not held:
                if ways[corruption] <= names:
                    truth[i, j] = 1.0
                elif not ways[corruption] & names:
                    truth[i, j] = 0.0
    return truth

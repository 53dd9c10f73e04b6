"""Readouts: what is linear in the values between the layers, beyond what x and y say themselves."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ired_interp.energy.mlp import MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.patching import check_sites
from ired_interp.probes.rank_manifold import as_matrices
from ired_interp.probes.ridge import ridge_predictions
from ired_interp.probes.settings import (
    Landscapes,
    check_landscapes,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.spread import jackknife_error, left_out
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.random import isolated, stream
from ired_interp.tasks.base import Problems
from ired_interp.terminal import track

SITES = ("h1", "h2", "h3", "o")
_BASELINES = ("input", "untrained", "permuted")
_CHOOSE, _TEST = 0.25, 0.5  # problems to choose penalties by and to test on, of those fitted to


class Readout(Probe):
    """Ridge regression from the layers of an MLP energy to what it should know, per landscape.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    samples : int
        Problems to fit to, drawn from the task; a quarter as many more choose the penalty and half
        as many are for the test.
    seed : int
        Of problems, noise, untrained weights and permutations.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "readout"

    def __init__(self, landscapes: Landscapes = "all", samples: int = 512, seed: int = 0) -> None:
        check_landscapes(self.name, landscapes)
        fits = 16 <= samples <= 100_000
        check_setting(self.name, "samples", samples, fits, "expected 16 to 100000")
        check_seed(self.name, seed)
        self.landscapes, self.samples, self.seed = landscapes, samples, seed

    def check(self, module: IREDModule) -> None:
        """Refuse an energy without sites, and landscapes that it has not; see `Probe.check`."""
        check_sites(self.name, module)
        chosen_landscapes(module, self.landscapes)

    def small(self) -> "Readout":
        """At most two landscapes, few problems; see `Probe.small`."""
        few = min(self.samples, 32)
        return self.with_settings(landscapes=few_landscapes(self.landscapes), samples=few)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and task; its problems are not used, but as many more as `samples` says.

        Returns
        -------
        xarray.Dataset
            As follows. R² = 1 − Σ‖t − t̂‖²/Σ‖t − mean t‖² is of problems that nothing was fitted to.
            Targets are "answer" y*; "denoised", the model's own D; "distance" ‖y − √ᾱ_k y*‖;
            "output" o; of square matrices "singular values" of y*, and where all are positive
            "log condition number"; where x holds some entries of y* and 0 else, "visible", which.

            ==================== ======================== ==========================================
            variable             dims                     meaning
            ==================== ======================== ==========================================
            `r2`, `r2_error`     landscape, site, target  from a site, with a standard error over
                                                          problems
            `r2_baseline`,       landscape, baseline,     "input": from [x; y]; "untrained": best
            `…_error`            target                   site of the same network with new weights;
                                                          "permuted": best site for targets of other
                                                          problems, which is what chance gives
            `gain`               landscape, site, target  R² less that of the best baseline (of 0,
                                                          where all are negative)
            ==================== ======================== ==========================================

        Raises
        ------
        InputError
            If the model does not fit (see `check`), or the task is not known.
        RunError
            If a value between the layers is not finite.
        """
        self.check(snapshot.module)
        module, task = snapshot.module, snapshot.task
        if task is None:
            raise InputError(
                f"{self.name} fits to many problems, but the task that draws them is not known; "
                "give the task."
            )
        generator = stream(snapshot.batch.y.device, self.seed, "readout")
        count = round(self.samples * (1 + _CHOOSE + _TEST))
        problems = task.sample(count, generator)
        dtype = snapshot.batch.y.dtype
        problems = Problems(*(part.to(dtype) for part in problems))
        raw = untrained(module, self.seed)
        landscapes = chosen_landscapes(module, self.landscapes)
        found: dict[str, list[np.ndarray]] = {}
        names: list[str] = []
        for k in track(landscapes, "readouts"):
            values, names = self._landscape(module, raw, problems, k)
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        unit = {"units": "1"}
        stacked = {name: np.stack(values) for name, values in found.items()}
        best = stacked["r2_baseline"].max(1, initial=0.0)
        dims = ("landscape", "site", "target")
        variables: dict[str, Any] = {
            name: (("landscape", "baseline", "target") if "baseline" in name else dims, value, unit)
            for name, value in stacked.items()
        }
        variables["gain"] = (dims, stacked["r2"] - best[:, None], unit)
        coordinates = {
            "landscape": landscapes,
            "site": list(SITES),
            "baseline": list(_BASELINES),
            "target": names,
        }
        return xr.Dataset(variables, coordinates)

    @torch.no_grad()
    def _landscape(
        self, module: IREDModule, raw: IREDModule, problems: Problems, k: int
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        x, y = problems
        generator = stream(y.device, self.seed, "readout noise", k)
        eps = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        rows = torch.full((len(y),), k, device=y.device)
        at = module.schedule.noised(y, rows, eps)
        sites = _sites(module, x, rows, at)
        g = module.free().gradient(x, at, k)
        denoised = (at - module.schedule.noise[k] * g) / module.schedule.signal[k]
        targets = _targets(x, y)
        targets |= {
            "denoised": denoised,
            "distance": (at - module.schedule.signal[k] * y).norm(dim=1, keepdim=True),
            "output": sites["o"],
        }
        if not all(value.isfinite().all() for value in (*sites.values(), *targets.values())):
            raise RunError(f"a value of landscape {k} is not finite; the weights have diverged.")
        order = torch.randperm(len(y), generator=stream("cpu", self.seed, "permuted", k))
        permuted = {f"permuted {name}": t[order.to(t.device)] for name, t in targets.items()}
        scores = np.stack([self._scores(sites[site], targets | permuted) for site in SITES])
        own, chance = np.split(scores, 2, axis=1)  # (sites, targets, 2)
        others = {
            "input": self._scores(torch.cat([x, at], 1), targets)[None],
            "untrained": np.stack(
                [self._scores(f, targets) for f in _sites(raw, x, rows, at).values()]
            ),
            "permuted": chance,
        }
        baselines = []
        for name in _BASELINES:
            best = others[name][..., 0].argmax(0)
            baselines.append(np.take_along_axis(others[name], best[None, :, None], 0)[0])
        theirs = np.stack(baselines)
        return {
            "r2": own[..., 0],
            "r2_error": own[..., 1],
            "r2_baseline": theirs[..., 0],
            "r2_baseline_error": theirs[..., 1],
        }, list(targets)

    def _scores(self, features: Tensor, targets: dict[str, Tensor]) -> np.ndarray:
        """R² and standard error (targets, 2) of problems that nothing was fitted to."""
        sizes = [self.samples, round(_CHOOSE * self.samples)]
        sizes.append(len(features) - sum(sizes))
        fit, choose, test = features.split(sizes)
        parts = {name: value.split(sizes) for name, value in targets.items()}
        predicted = ridge_predictions(
            (fit, choose, test), {name: (one[0], one[1]) for name, one in parts.items()}
        )
        found = []
        for name, (_, _, truth) in parts.items():
            wrong = (predicted[name] - truth.double()).square().sum(1).cpu().numpy()
            spread = truth.double() - truth.double().mean(0)
            size = spread.square().sum(1).cpu().numpy()
            value = 1 - wrong.sum() / size.sum()
            without = [1 - wrong[kept].sum() / size[kept].sum() for kept in left_out(len(size))]
            found.append((value, float(jackknife_error(np.array(without)))))
        return np.array(found)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        columns: dict[str, Column] = {}
        for target in ("answer", "denoised", "distance"):
            for site in ("h1", "h3"):
                one = result.sel(target=target, site=site)
                columns[f"{target} from {site}"] = (one["r2"], one["r2_error"])
            one = result.sel(target=target, baseline="input")
            columns[f"{target} from input"] = (one["r2_baseline"], one["r2_baseline_error"])
        title = "R² of linear readouts on new problems; ± standard error over problems"
        return estimate_table(title, result["landscape"].values, columns)


def untrained(module: IREDModule, seed: int) -> IREDModule:
    """Return a copy of a module whose MLP energy has new weights, drawn as at construction."""
    assert isinstance(module.energy, MLPEnergy)  # whose weights are all those of linear layers
    raw = deepcopy(module)
    with isolated(seed):
        for part in raw.energy.modules():
            if isinstance(part, nn.Linear):
                part.reset_parameters()
    return raw


def _sites(module: IREDModule, x: Tensor, rows: Tensor, at: Tensor) -> dict[str, Tensor]:
    assert isinstance(module.energy, MLPEnergy)
    energy = module.free()
    every = energy.sites(energy.condition(x, rows), at)[1]
    return {site: every[site] for site in SITES}


def _targets(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Take from x and y* what needs no model."""
    found = {"answer": y}
    matrices = as_matrices(y)
    if matrices is not None and matrices.shape[-1] > 1:
        s = torch.linalg.svdvals(matrices.double())
        found["singular values"] = s
        if bool((s[:, -1] > 1e-5 * s[:, 0]).all()):
            found["log condition number"] = (s[:, :1] / s[:, -1:]).log()
    if x.shape == y.shape:
        seen = x == y
        if bool((seen | (x == 0)).all()) and bool(seen.any()) and not bool(seen.all()):
            found["visible"] = seen.to(y.dtype)
    return found

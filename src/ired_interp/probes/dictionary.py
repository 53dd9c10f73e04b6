"""Sparse dictionaries of layers and errors, beside those of Gaussian data like them."""

from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import topk
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.patching import check_sites
from ired_interp.probes.readout import untrained
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.site_patches import run
from ired_interp.probes.spread import jackknife_error, left_out
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.probes.vector_nulls import gaussian_like, leading_components
from ired_interp.random import stream
from ired_interp.tasks.base import Problems
from ired_interp.terminal import track

Source = Literal["h1", "h2", "h3", "error"]
KINDS = ("dictionary", "Gaussian null", "principal components", "random atoms", "untrained")
_LEARNED = KINDS[:2]
_HELD_OUT = 0.1
_ROUNDING = 100  # units in the last place of what an error is the difference of
_METRICS = ("energy", "gradient")


class Dictionary(Probe):
    """Learn vectors as sums of a few atoms, and compare with what the same gives without structure.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k; each costs six trainings.
    source : str
        What the vectors are: the layers "h1", "h2", "h3" of an MLP energy, or "error", D − y* of
        any energy, all at noised answers.
    atoms : int
        M.
    l0 : int
        Atoms of which each vector is made.
    samples : int
        Problems drawn from the task, of which a tenth is held out.
    steps : int
        Of each training, on batches of 512.
    seed : int
        Of problems, noise, atoms and batches.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "dictionary"

    def __init__(
        self,
        landscapes: Landscapes = [2],  # noqa: B006  (jsonargparse reads the default)
        source: Source = "h3",
        atoms: int = 128,
        l0: int = 4,
        samples: int = 8192,
        steps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "source", source, Source)
        check_setting(self.name, "atoms", atoms, 2 <= atoms <= 100_000, "expected 2 to 100000")
        check_setting(self.name, "l0", l0, 1 <= l0 <= atoms, "expected 1 to the number of atoms")
        fits = 64 <= samples <= 10_000_000
        check_setting(self.name, "samples", samples, fits, "expected 64 to 10000000")
        check_setting(self.name, "steps", steps, 1 <= steps <= 10**6, "expected 1 to 1000000")
        check_seed(self.name, seed)
        self.landscapes, self.source, self.atoms, self.l0 = landscapes, source, atoms, l0
        self.samples, self.steps, self.seed = samples, steps, seed

    def check(self, module: IREDModule) -> None:
        """Refuse an energy without the source, and landscapes that it has not; `Probe.check`."""
        if self.source != "error":
            check_sites(self.name, module)
        chosen_landscapes(module, self.landscapes)

    def small(self) -> "Dictionary":
        """At most two landscapes, few problems and steps; see `Probe.small`."""
        return self.with_settings(
            landscapes=few_landscapes(self.landscapes),
            samples=min(self.samples, 128),
            steps=min(self.steps, 2),
        )

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and task; its problems are not used, but as many more as `samples` says.

        Returns
        -------
        xarray.Dataset
            As follows, of vectors held out; `…_error` is a standard error over problems. Kinds
            are the "dictionary"; the same of Gaussian data with the source's mean and covariance
            ("Gaussian null"), the same with "random atoms" and of the network with new weights
            ("untrained", NaN of an energy without sites); and "principal components", l0 of them.

            =========================== =================== ========================================
            variable                    dims                meaning
            =========================== =================== ========================================
            `explained`, `…_error`      landscape, kind     1 − Σ‖v − v̂‖²/Σ‖v − mean‖²
            `excess`                    landscape           of the dictionary over its Gaussian null
            `dead`                      landscape, learned  share of atoms that no vector uses
            `agreement`,                landscape, learned  |cosine| of atoms of two seeds, matched
            `agreement_quantiles`       (quantile)          one to one: mean and quantiles
            `agreement_chance`                              of as many random atoms
            `fidelity`, `…_error`       landscape, metric   1 − mean |Δm|/mean |Δm with the mean in
                                                            place of the vectors|, where the
                                                            reconstruction stands in their place: of
                                                            E, and of ∇_y E; of layers only
            =========================== =================== ========================================

        Raises
        ------
        InputError
            If the model does not fit (see `check`), or the task is not known.
        RunError
            If a vector is not finite, or all are equal.
        """
        self.check(snapshot.module)
        module, task = snapshot.module, snapshot.task
        if task is None:
            raise InputError(
                f"{self.name} learns from many problems, but the task that draws them is not "
                "known; give the task."
            )
        generator = stream(snapshot.batch.y.device, self.seed, "dictionary")
        dtype = snapshot.batch.y.dtype
        problems = Problems(*(part.to(dtype) for part in task.sample(self.samples, generator)))
        raw = untrained(module, self.seed) if self.source != "error" else None
        landscapes = chosen_landscapes(module, self.landscapes)
        found: dict[str, list[Any]] = {}
        for k in track(landscapes, "dictionaries"):
            for name, value in self._landscape(module, raw, problems, k).items():
                found.setdefault(name, []).append(value)
        unit = {"units": "1"}
        dims = {
            "explained": "kind",
            "explained_error": "kind",
            "dead": "learned",
            "agreement": "learned",
            "fidelity": "metric",
            "fidelity_error": "metric",
        }
        variables: dict[str, Any] = {
            name: (("landscape", dims[name]), np.stack(found[name]), unit)
            for name in dims
            if name in found
        }
        share = np.stack(found["explained"])
        variables["excess"] = ("landscape", share[:, 0] - share[:, 1], unit)
        quantiles = ("landscape", "learned", "quantile")
        variables["agreement_quantiles"] = (quantiles, np.stack(found["quantiles"]), unit)
        width = found["width"][0]
        drawn = torch.randn(2, self.atoms, width, generator=stream("cpu", self.seed, "chance"))
        chance = topk.agreement(*torch.nn.functional.normalize(drawn, dim=2))
        variables["agreement_chance"] = float(chance.mean())
        coordinates = {
            "landscape": landscapes,
            "kind": list(KINDS),
            "learned": list(_LEARNED),
            "metric": list(_METRICS),
            "quantile": [0.05, 0.5, 0.95],
        }
        return xr.Dataset(variables, coordinates)

    def _landscape(
        self, module: IREDModule, raw: IREDModule | None, problems: Problems, k: int
    ) -> dict[str, Any]:
        at = self._points(module, problems, k)
        rows = self._vectors(module, problems, at, k)
        device, held = rows.device, max(8, round(_HELD_OUT * len(rows)))

        def learn(rows: Tensor, seed: int, frozen: bool = False) -> topk.Dictionary:
            generator = stream(device, self.seed, "atoms", k, seed)
            return topk.learn_dictionary(
                rows[:-held], self.atoms, self.l0, self.steps, generator, frozen
            )

        surrogate = gaussian_like(rows, stream(device, self.seed, "surrogate", k))
        pairs = [[learn(part, seed) for seed in (0, 1)] for part in (rows, surrogate)]
        made = {
            "dictionary": (rows, pairs[0][0].reconstruct(rows[-held:])),
            "Gaussian null": (surrogate, pairs[1][0].reconstruct(surrogate[-held:])),
            "principal components": (rows, leading_components(rows[:-held], rows[-held:], self.l0)),
            "random atoms": (rows, learn(rows, 2, frozen=True).reconstruct(rows[-held:])),
        }
        if raw is not None:
            other = self._vectors(raw, problems, at, k)
            made["untrained"] = other, learn(other, 0).reconstruct(other[-held:])
        scores = np.full((len(KINDS), 2), np.nan)
        for i, name in enumerate(KINDS):
            if name in made:
                whole, part = made[name]
                scores[i] = _share(*topk.explained(whole[-held:], part))
        matched = [topk.agreement(a.atoms, b.atoms) for a, b in pairs]
        used = [
            float((pair[0].codes(part) > 0).any(0).float().mean())
            for pair, part in zip(pairs, (rows, surrogate), strict=True)
        ]
        found = {
            "explained": scores[:, 0],
            "explained_error": scores[:, 1],
            "dead": 1 - np.array(used),
            "agreement": np.array([one.mean() for one in matched]),
            "quantiles": np.stack([np.quantile(one, [0.05, 0.5, 0.95]) for one in matched]),
            "width": rows.shape[1],
        }
        if raw is not None:
            kept = slice(len(rows) - held, None)
            fidelity = self._fidelity(module, problems.x[kept], at[kept], k, pairs[0][0])
            found |= {"fidelity": fidelity[:, 0], "fidelity_error": fidelity[:, 1]}
        return found

    def _points(self, module: IREDModule, problems: Problems, k: int) -> Tensor:
        y = problems.y
        generator = stream(y.device, self.seed, "dictionary noise", k)
        eps = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        return module.schedule.noised(y, torch.full((len(y),), k, device=y.device), eps)

    @torch.no_grad()
    def _vectors(self, module: IREDModule, problems: Problems, at: Tensor, k: int) -> Tensor:
        (x, y), energy = problems, module.free()
        if self.source == "error":
            g = energy.gradient(x, at, k)
            signal, noise = module.schedule.signal[k], module.schedule.noise[k]
            rows = (at - noise * g) / signal - y
            rounding = _ROUNDING * torch.finfo(y.dtype).eps * at.norm(dim=1) / signal
            rows = torch.where((rows.norm(dim=1) > rounding)[:, None], rows, 0.0)
        else:
            context = energy.condition(x, torch.full((len(y),), k, device=y.device))
            rows = energy.sites(context, at)[1][self.source]
        if not rows.isfinite().all() or bool((rows == rows[0]).all()):
            raise RunError(
                f"vectors of landscape {k} are not finite, or do not differ; there is nothing "
                "to learn."
            )
        return rows

    def _fidelity(
        self, module: IREDModule, x: Tensor, at: Tensor, k: int, learned: topk.Dictionary
    ) -> np.ndarray:
        """Share kept and standard error (metrics, 2) where reconstructions replace vectors."""
        energy = module.free()
        context = energy.condition(x, torch.full((len(x),), k, device=x.device))
        clean = run(energy, context, at)
        own = clean.sites[self.source]
        centre = learned.centre.to(own.dtype).expand_as(own)
        runs = [
            run(energy, context, at, {self.source: value})
            for value in (learned.reconstruct(own), centre)
        ]
        found = []
        for metric in _METRICS:
            off = [getattr(one, metric) - getattr(clean, metric) for one in runs]
            sizes = [part.reshape(len(x), -1).norm(dim=1).cpu().numpy() for part in off]
            found.append(_share(*sizes))
        return np.array(found)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        columns: dict[str, Column] = {}
        for kind in KINDS:
            one = result.sel(kind=kind)
            columns[kind] = (one["explained"], one["explained_error"])
        for learned in _LEARNED:
            columns[f"agreement, {learned}"] = (result["agreement"].sel(learned=learned), None)
        title = f"Variance of {self.source} explained by {self.l0} of {self.atoms} atoms"
        return estimate_table(title, result["landscape"].values, columns)


def _share(wrong: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """1 − Σ wrong/Σ size, and its standard error over problems."""
    without = [1 - wrong[kept].sum() / size[kept].sum() for kept in left_out(len(size))]
    return 1 - wrong.sum() / size.sum(), float(jackknife_error(np.array(without)))

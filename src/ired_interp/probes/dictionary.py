"""Sparse dictionaries of layers and errors, beside those of Gaussian data like them."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import topk
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.dictionary_scores import KINDS, Compared, plane_alignment, share
from ired_interp.probes.patching import check_sites
from ired_interp.probes.planes import families, frames
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
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.random import stream
from ired_interp.tasks.base import Problems
from ired_interp.terminal import track

Source = Literal["h1", "h2", "h3", "error"]
_LEARNED = KINDS[:2]
_QUANTILES = (0.05, 0.5, 0.95)
_DIMS: dict[str, tuple[str, ...]] = {
    "explained": ("kind",),
    "explained_error": ("kind",),
    "explained_by_l0": ("l0", "kind"),
    "explained_by_l0_error": ("l0", "kind"),
    "dead": ("learned",),
    "agreement": ("learned",),
    "agreement_quantiles": ("learned", "quantile"),
    "agreement_chance": (),
    "fidelity": ("metric",),
    "fidelity_error": ("metric",),
    "alignment": ("atom", "family"),
    "alignment_chance": ("family",),
}
_ROUNDING = 100  # units in the last place of what an error is the difference of
_METRICS = ("energy", "gradient")


class Dictionary(Probe):
    """Learn vectors as sums of a few atoms, and compare with what the same gives without structure.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k; each costs six trainings, and four more for each number of the grid.
    source : str
        What the vectors are: the layers "h1", "h2", "h3" of an MLP energy, or "error", D − y* of
        any energy, all at noised answers.
    atoms : int
        M.
    l0 : int
        Atoms of which each vector is made.
    grid : list of int
        More such numbers, of which only the variance explained is measured.
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
        grid: list[int] = [],  # noqa: B006
        samples: int = 8192,
        steps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "source", source, Source)
        check_setting(self.name, "atoms", atoms, 2 <= atoms <= 100_000, "expected 2 to 100000")
        check_setting(self.name, "l0", l0, 1 <= l0 <= atoms, "expected 1 to the number of atoms")
        fits = all(1 <= one <= atoms for one in grid) and len(set(grid)) == len(grid)
        expected = "expected different numbers from 1 to that of atoms"
        check_setting(self.name, "grid", grid, fits, expected)
        fits = 64 <= samples <= 10_000_000
        check_setting(self.name, "samples", samples, fits, "expected 64 to 10000000")
        check_setting(self.name, "steps", steps, 1 <= steps <= 10**6, "expected 1 to 1000000")
        check_seed(self.name, seed)
        self.landscapes, self.source, self.atoms, self.l0 = landscapes, source, atoms, l0
        self.grid, self.samples, self.steps, self.seed = list(grid), samples, steps, seed

    def check(self, module: IREDModule) -> None:
        """Refuse an energy without the source, and landscapes that it has not; `Probe.check`."""
        if self.source != "error":
            check_sites(self.name, module)
        chosen_landscapes(module, self.landscapes)

    def small(self) -> "Dictionary":
        """At most two landscapes, few problems and steps; see `Probe.small`."""
        return self.with_settings(
            landscapes=few_landscapes(self.landscapes),
            grid=self.grid[:1],
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
            `explained_by_l0`,          landscape, l0,      the same of other numbers of atoms
            `…_error`                   kind
            `excess`                    landscape           of the dictionary over its Gaussian null
            `dead`                      landscape, learned  share of atoms that no vector uses
            `agreement`,                landscape, learned  |cosine| of atoms of two seeds, matched
            `agreement_quantiles`       (quantile)          one to one: mean and quantiles
            `agreement_chance`                              of as many random atoms
            `fidelity`, `…_error`       landscape, metric   1 − mean |Δm|/mean |Δm with the mean in
                                                            place of the vectors|, where the
                                                            reconstruction stands in their place: of
                                                            E, and of ∇_y E; of layers only
            `alignment`                 landscape, atom,    of source "error": ‖P a‖² of each atom a
                                        family              in planes at y* (`planes.frames`), mean
                                                            over problems by how much they use it;
                                                            NaN if none does
            `alignment_chance`          family              tr P/d, of a direction at random
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
            for name, value in self._landscape(snapshot, raw, problems, k).items():
                found.setdefault(name, []).append(value)
        variables: dict[str, Any] = {
            name: (("landscape", *dims), np.stack(found[name]), {"units": "1"})
            for name, dims in _DIMS.items()
            if name in found
        }
        for name in ("agreement_chance", "alignment_chance"):  # the same of every landscape
            if name in variables:
                dims, values, unit = variables[name]
                variables[name] = (dims[1:], values[0], unit)
        part = np.stack(found["explained"])
        variables["excess"] = ("landscape", part[:, 0] - part[:, 1], {"units": "1"})
        coordinates = {
            "landscape": landscapes,
            "kind": list(KINDS),
            "learned": list(_LEARNED),
            "metric": list(_METRICS),
            "quantile": list(_QUANTILES),
        }
        if self.grid:
            coordinates["l0"] = self.grid
        if "alignment" in variables:
            coordinates["family"] = list(families(frames(snapshot, None)))
        return xr.Dataset(variables, coordinates)

    def _landscape(
        self, snapshot: Snapshot, raw: IREDModule | None, problems: Problems, k: int
    ) -> dict[str, Any]:
        module, at = snapshot.module, self._points(snapshot.module, problems, k)
        rows = self._vectors(module, problems, at, k)
        other = None if raw is None else self._vectors(raw, problems, at, k)
        compared = Compared(rows, other, self.atoms, self.steps, self.seed, k)
        pairs = compared.pairs(self.l0)
        scores = compared.scores(self.l0, pairs)
        matched = [topk.agreement(a.atoms, b.atoms) for a, b in pairs]
        used = [
            float((pair[0].codes(part) > 0).any(0).float().mean())
            for pair, part in zip(pairs, (rows, compared.surrogate), strict=True)
        ]
        found = {
            "explained": scores[:, 0],
            "explained_error": scores[:, 1],
            "dead": 1 - np.array(used),
            "agreement": np.array([one.mean() for one in matched]),
            "agreement_quantiles": np.stack([np.quantile(one, _QUANTILES) for one in matched]),
            "agreement_chance": compared.agreement_chance,
        }
        if self.grid:
            every = np.stack([compared.scores(l0) for l0 in self.grid])
            found |= {"explained_by_l0": every[..., 0], "explained_by_l0_error": every[..., 1]}
        kept = slice(len(rows) - compared.held, None)
        held = Problems(*(part[kept] for part in problems))
        if raw is not None:
            fidelity = self._fidelity(module, held.x, at[kept], k, pairs[0][0])
            found |= {"fidelity": fidelity[:, 0], "fidelity_error": fidelity[:, 1]}
        else:
            every_plane = frames(replace(snapshot, batch=held), None)
            aligned = plane_alignment(pairs[0][0], rows[kept], every_plane)
            found |= {"alignment": aligned.share, "alignment_chance": aligned.chance}
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
            found.append(share(*sizes))
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

"""The spectrum of the Hessian of a training objective in the weights θ."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.last_update import last_update
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_seed,
    check_setting,
    few_landscapes,
    working_memory,
)
from ired_interp.probes.spectrum_settings import Layers, Which, check_room, check_spectrum
from ired_interp.probes.theta_eigenpairs import eigenpairs
from ired_interp.probes.theta_layers import measure_layers
from ired_interp.probes.theta_shares import measure_shares, over_draws
from ired_interp.probes.theta_spectrum import (
    MIXED,
    ThetaObjective,
    measure_operator,
    theta_operator,
    weight_count,
)
from ired_interp.probes.theta_tables import layers_table, spectrum_table
from ired_interp.ranks import ALONE
from ired_interp.spectra import HessianOperator
from ired_interp.terminal import render, track

Backend = Literal["lanczos", "pyhessian"]
_CROWDED = 4096  # problems: 32 take a GPU 1.3 ms a product, 2048 take it 2.9


class HessianSpectrumTheta(Probe):
    """Largest eigenvalues, density and trace of the Hessian of an objective in θ.

    The objective is a mean over the problems. Eigenvalues come with residuals from Lanczos, the
    density from stochastic Lanczos quadrature, the trace from Hutch++.

    Parameters
    ----------
    landscapes : "all", list of int, or "mixed"
        Which k, each for itself; "mixed" draws a landscape per problem as training does.
    objective : str
        The training "loss", its "score" term, or the mean "energy".
    eigenpairs : int
        How many.
    which : str
        From which end: "LA" the largest, "SA" the smallest, "BE" half from either end, "LM" the
        largest in magnitude.
    tol : float
        Relative residual wanted.
    density_probes : int
        Random vectors of the density, at least 2; 0 leaves it out.
    density_steps : int
        Lanczos steps from each of them.
    trace_matvecs : int
        Hessian products spent on the trace, at least 8; 0 leaves it out.
    backend : str
        "lanczos", or "pyhessian" for that library's eigenvalues, which are always those of largest
        magnitude (`which: LM`).
    layers : str
        "all" their weights together; "each" measures the diagonal block of each layer, too, and the
        norms of the blocks between them, which costs as much again for every layer.
    draws : int
        Draws of the noise over which shares in the top eigenspace are averaged, with an error from
        2 on; each costs the eigenpairs anew, and the spectrum is that of the first.
    dtype : str
        Arithmetic of the Hessian, "float32" or "float64".
    memory_gib : float, optional
        Working memory in GiB, half of what is free where not given; half of it for the graphs, half
        for the Lanczos basis: the batch is cut and Lanczos restarted to fit.
    seed : int
        Of the noise of the objective and of random vectors.

    Raises
    ------
    InputError
        If a setting is none of those, or has no effect.
    """

    name = "hessian_spectrum_theta"
    parallel = True

    def __init__(
        self,
        landscapes: Literal["mixed"] | Landscapes = "all",
        objective: ThetaObjective = "score",
        eigenpairs: int = 10,
        which: Which = "LA",
        tol: float = 1e-3,
        density_probes: int = 4,
        density_steps: int = 40,
        trace_matvecs: int = 30,
        backend: Backend = "lanczos",
        layers: Layers = "all",
        draws: int = 1,
        dtype: Literal["float32", "float64"] = "float32",
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        if landscapes != "mixed":
            check_landscapes(self.name, landscapes)
        for setting, value, known in (
            ("objective", objective, ThetaObjective),
            ("backend", backend, Backend),
            ("layers", layers, Layers),
            ("dtype", dtype, Literal["float32", "float64"]),
        ):
            check_choice(self.name, setting, value, known)
        check_spectrum(
            self.name,
            eigenpairs=eigenpairs,
            which=which,
            tol=tol,
            density_probes=density_probes,
            density_steps=density_steps,
            trace_matvecs=trace_matvecs,
            memory_gib=memory_gib,
            dtype=dtype,
        )
        check_setting(self.name, "draws", draws, draws >= 1, "expected at least 1")
        check_seed(self.name, seed)
        if backend == "pyhessian" and which != "LM":
            raise InputError(
                f"{self.name} has which={which}, but backend 'pyhessian' finds the eigenvalues of "
                "largest "
                "magnitude; set which to LM."
            )
        self.landscapes, self.objective = landscapes, objective
        self.eigenpairs, self.which, self.tol = eigenpairs, which, tol
        self.density_probes, self.density_steps = density_probes, density_steps
        self.trace_matvecs, self.backend, self.dtype = trace_matvecs, backend, dtype
        self.layers, self.draws = layers, draws
        self.memory_gib, self.seed = memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse a model without weights, with too few of them, or with too many for the memory.

        Parameters
        ----------
        module : IREDModule
            The model.
        """
        self._chosen(module)
        weights = weight_count(module.energy)
        memory_gib = self.memory_gib if self.backend == "lanczos" else None
        check_room(self.name, self.eigenpairs, weights, getattr(torch, self.dtype), memory_gib)

    def small(self) -> "HessianSpectrumTheta":
        """At most two landscapes and eigenpairs, the least density and trace; see `Probe.small`."""
        return self.with_settings(
            landscapes="mixed" if self.landscapes == "mixed" else few_landscapes(self.landscapes),
            eigenpairs=min(self.eigenpairs, 2),
            tol=max(self.tol, 0.3),
            density_probes=min(self.density_probes, 2),
            density_steps=min(self.density_steps, 5),
            trace_matvecs=min(self.trace_matvecs, 8),
            draws=min(self.draws, 2),
        )

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            Over landscape (−1 for "mixed") and rank or bin what `measure_operator` names, of
            several draws the means with `…_error`; what `measure_layers` names. The attribute
            `update` says whose step the update is, or why there is none.

        Raises
        ------
        InputError
            If the model does not fit (see `check`), or several processes are to run PyHessian.
        RunError
            If a value is not finite.
        """
        if self.backend == "pyhessian" and snapshot.ranks.count > 1:
            raise InputError(
                f"{self.name} with backend 'pyhessian' runs in one process, but there are "
                f"{snapshot.ranks.count} tasks; start one, or choose backend 'lanczos'."
            )
        landscapes = self._chosen(snapshot.module)
        weights = snapshot.module.named_parameters()
        trained = {name: w for name, w in weights if w.requires_grad}
        steps, whose = last_update(snapshot.optimizer, trained)
        if steps is not None:
            steps = {name.removeprefix("energy."): step for name, step in steps.items()}
        result = xr.concat(
            self._shared_out(snapshot, landscapes, steps),
            "landscape",
            coords="minimal",
            compat="override",
            join="override",
            data_vars="all",
        )
        attributes = {"objective": self.objective, "update": whose}
        return result.assign_coords(landscape=landscapes).assign_attrs(attributes)

    def _shared_out(
        self, snapshot: Snapshot, landscapes: list[int], steps: Mapping[str, Tensor] | None
    ) -> list[xr.Dataset]:
        """Measure landscapes: all processes the problems of each, or each process its landscapes.

        A GPU takes hardly less time for fewer problems, so that several share out those of one
        landscape only where they are very many.
        """
        ranks, what = snapshot.ranks, f"Hessian spectrum in θ, {self.objective}"
        crowded = len(snapshot.batch.y) >= _CROWDED and len(landscapes) < ranks.count
        if ranks.count == 1 or crowded or not self._by_landscape(snapshot):
            return [self._measure(snapshot, k, steps) for k in track(landscapes, what)]
        with ranks.raise_on_all():
            alone, mine = replace(snapshot, ranks=ALONE), landscapes[ranks.rank :: ranks.count]
            found = {k: self._measure(alone, k, steps) for k in track(mine, what)}
        everything = {k: part for own in ranks.all_gather_object(found) for k, part in own.items()}
        return [everything[k] for k in landscapes]

    @staticmethod
    def _by_landscape(snapshot: Snapshot) -> bool:
        return snapshot.batch.y.device.type == "cuda"

    def _measure(
        self, snapshot: Snapshot, k: int, steps: Mapping[str, Tensor] | None
    ) -> xr.Dataset:
        """Measure one landscape.

        Raises
        ------
        RunError
            If the gradient is not finite.
        """
        device, dtype = snapshot.batch.y.device, getattr(torch, self.dtype)
        memory = working_memory(self.memory_gib, device, snapshot.ranks.count) // 2

        def operator(draw: int) -> HessianOperator:
            return theta_operator(snapshot, self.objective, k, dtype, memory, self.seed, draw)

        def folder(name: str) -> Path | None:
            return snapshot.scratch / f"landscape{k}{name}" if snapshot.scratch else None

        whole = operator(0)
        if not whole.gradient().isfinite().all():
            raise RunError(
                f"the gradient in θ of landscape {k} is not finite; the weights have diverged."
            )
        draws = [measure_operator(whole, self, memory, folder(""), steps)]
        layers = xr.Dataset()
        if self.layers == "each":
            layers = measure_layers(whole, self, memory, folder("_layers"), steps)
        whole.release()
        for draw in range(1, self.draws):
            other = operator(draw)
            found = eigenpairs(other, self, memory, folder(f"_draw{draw}"))
            draws.append(measure_shares(other, found, self, steps))
        return over_draws(draws).merge(layers)

    def _chosen(self, module: IREDModule) -> list[int]:
        if self.landscapes == "mixed":
            return [MIXED]
        return chosen_landscapes(module, self.landscapes)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape, and one a layer; see `Probe.summary`."""
        text = render(spectrum_table(result, f"Hessian of the {self.objective} in θ"))
        return text + render(layers_table(result)) if "layer" in result.dims else text

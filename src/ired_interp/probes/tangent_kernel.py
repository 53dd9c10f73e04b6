"""The empirical neural tangent kernel of what training moves: which problems learn together."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.diffusion import Noise
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.gradient_variables import ALL, layer_grams
from ired_interp.probes.gram_statistics import effective_ranks
from ired_interp.probes.kernel_alignment import (
    LEAST,
    alignment_variables,
    cka_variables,
    neighbour_halves,
)
from ired_interp.probes.kernel_targets import targets
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_memory,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.spread import jackknife_error
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.probes.tangent_rows import Kernel, TangentRows
from ired_interp.probes.theta_spectrum import weight_count
from ired_interp.random import stream
from ired_interp.terminal import track

_MOST_ROWS = 2048  # of an exact block kernel


class TangentKernel(Probe):
    """Inner products over weights of what problems ask training to move, per landscape and layer.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    kernel : str
        "score": of ∇_y E at the noised answer, which the score term moves, averaged over the
        entries of y; "contrast": of E(y⁺) − E(y⁻), which the contrastive term moves, at fixed
        negatives.
    vectors : int
        Random signs v with which ∇_y E is contracted, the same for all problems; from d_y on, the
        entries themselves, and the kernel is exact.
    memory_gib : float
        Working memory in GiB for gradients.
    seed : int
        Of noise, negatives, vectors and permutations.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "tangent_kernel"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        kernel: Kernel = "score",
        vectors: int = 2,
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "kernel", kernel, Kernel)
        check_setting(self.name, "vectors", vectors, vectors >= 2, "expected at least 2")
        check_memory(self.name, memory_gib)
        check_seed(self.name, seed)
        self.landscapes, self.kernel, self.vectors = landscapes, kernel, vectors
        self.memory_gib, self.seed = memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse a model without weights, or without the landscapes; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)
        weight_count(module.energy)

    @property
    def least_problems(self) -> int:
        """So many that a kernel without one of them can be centred."""
        return LEAST

    def small(self) -> "TangentKernel":
        """At most two landscapes and vectors; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes), vectors=2)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and N problems, at least 5.

        Returns
        -------
        xarray.Dataset
            As follows; `layer` begins with "all". K is the kernel over problems, and the residual r
            what the loss multiplies it with: g − ε, or the logistic function of E(y⁺) − E(y⁻).
            Alignments are debiased CKA with standard errors over problems; of independent kernels
            it has mean 0.

            ============================= ================== =======================================
            variable                      dims               meaning
            ============================= ================== =======================================
            `kernel`                      landscape,         K, of all weights
                                          problem,
                                          other_problem
            `eigenvalues`, `…_error`      landscape, layer,  of 2K/N (score) or K/N (contrast): the
                                          rank               rates at which gradient descent learns
            `participation`, `…_error`    landscape, layer   effective ranks of them; errors are of
            `entropy_rank`, `…_error`                        the random vectors alone, 0 if exact
            `residual_share`              landscape, rank    share of ‖r‖² along the leading
                                                             eigenvectors
            `residual_share_chance`       rank               of a residual without direction
            `block_eigenvalues`           landscape,         of 2K^g/(N d), K^g over problems and
                                          block_rank         entries, where it is exact and has at
                                                             most 2048 rows: those of Gauss–Newton
            `alignment`, `…_error`        landscape, layer,  with kernels of what problems ask
                                          target             (see `kernel_targets.targets`)
            `alignment_chance`,           landscape, layer,  mean and 95 % interval where problems
            `…_low`, `…_high`             target             are permuted
            `landscape_cka`, `…_error`    landscape,         of the kernels of two landscapes
                                          other_landscape
            `landscape_cka_halves`        half, landscape    with the next landscape's, of random
                                                               halves of the problems
            `drift`, `…_error`            landscape, layer   with the kernel as training began,
                                                             where that is known
            ============================= ================== =======================================

        Raises
        ------
        InputError
            If there are fewer than 5 problems, or the model does not fit (see `check`).
        RunError
            If a gradient is not finite.
        """
        self.check(snapshot.module)
        count = len(snapshot.batch.y)
        if count < LEAST:
            raise InputError(f"{self.name} has {count} problems; give it at least {LEAST}.")
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        before = snapshot.as_training_began()
        drawn, shares, blocks, firsts = [], [], [], []
        for k in track(landscapes, "tangent kernels"):
            parts, block, layers = self._kernels(snapshot, k)
            drawn.append(parts)
            shares.append(self._residual_share(snapshot, k, parts.mean(0)[0]))
            blocks += [] if block is None else [block]
            if before is not None:
                firsts.append(self._kernels(before, k)[0].mean(0))
        every = torch.stack(drawn)  # (K, vectors, layers, N, N)
        variables: dict[str, Any] = self._spectra(every)
        kernels = every.mean(1)
        unit = {"units": "1"}
        variables |= {
            "kernel": (("landscape", "problem", "other_problem"), kernels[:, 0]),
            "residual_share": (("landscape", "rank"), np.stack(shares), unit),
            "residual_share_chance": ("rank", np.arange(1, count + 1) / count, unit),
        }
        if blocks:
            variables["block_eigenvalues"] = (("landscape", "block_rank"), np.stack(blocks))
        named = targets(snapshot)
        variables |= alignment_variables(kernels, named, self.seed)
        pair = (kernels[:, None, 0], kernels[None, :, 0])
        dims = ("landscape", "other_landscape")
        variables |= cka_variables(
            "landscape_cka", dims, *(p.expand(*[len(kernels)] * 2, -1, -1) for p in pair)
        )
        halves = neighbour_halves(kernels[:, 0], landscapes, self.seed)
        variables["landscape_cka_halves"] = (("half", "landscape"), halves, unit)
        if firsts:
            variables |= cka_variables(
                "drift", ("landscape", "layer"), kernels, torch.stack(firsts)
            )
        coordinates = {
            "landscape": landscapes,
            "other_landscape": landscapes,
            "layer": [ALL, *layers],
            "target": list(named),
        }
        return xr.Dataset(variables, coordinates)

    def _kernels(
        self, snapshot: Snapshot, k: int
    ) -> tuple[Tensor, np.ndarray | None, dict[str, int]]:
        """Kernels (vectors, 1 + layers, N, N), the block kernel's eigenvalues, and the layers."""
        module, (x, y), memory = snapshot.module, snapshot.batch, self.memory_gib * 2**30
        n, d = y.shape
        if self.kernel == "contrast":
            right, wrong = self._pair(snapshot, k)
            rows = TangentRows(module, "contrast", k, x, right, wrong)
            return torch.from_numpy(layer_grams(rows, memory, 1)[0])[None], None, rows.layers
        at = measuring_point(snapshot, k, "noised", self.seed)
        if self.vectors >= d and n * d <= _MOST_ROWS:
            units = torch.eye(d, dtype=y.dtype, device=y.device).repeat(n, 1)
            every = x.repeat_interleave(d, 0), at.repeat_interleave(d, 0)
            rows = TangentRows(module, "score", k, every[0], every[1], units)
            gram = torch.from_numpy(layer_grams(rows, memory, 1)[0])
            block = torch.linalg.eigvalsh(gram[0]).flip(0).numpy() * 2 / (n * d)
            traced = gram.unflatten(1, (n, d)).unflatten(3, (n, d))
            return torch.einsum("liaja->lij", traced)[None] / d, block, rows.layers
        found = []
        generator = stream(y.device, self.seed, "vectors")
        for _ in range(self.vectors):
            signs = torch.randint(2, (d,), generator=generator, device=y.device) * 2 - 1
            rows = TangentRows(module, "score", k, x, at, signs.to(y.dtype).expand(n, -1))
            found.append(torch.from_numpy(layer_grams(rows, memory, 1)[0]) / d)
        return torch.stack(found), None, rows.layers

    @torch.no_grad()
    def _pair(self, snapshot: Snapshot, k: int) -> tuple[Tensor, Tensor]:
        """Noised right and wrong answers, as the contrastive term has them."""
        module, (x, y) = snapshot.module, snapshot.batch
        rows = torch.full((len(y),), k, device=y.device)
        generator = stream(y.device, self.seed, "contrast", k)
        eps = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        wrong = module.wrong_answers(x, y, generator)
        schedule, energy = module.schedule, module.free()
        if wrong is None:
            context = energy.condition(x, rows)
            noise = Noise(rows, eps, eps)
            negative = module.objective.negative(energy, schedule, context, y, noise)
        else:
            negative = schedule.noised(wrong, rows, eps)
        return schedule.noised(y, rows, eps), negative

    @torch.no_grad()
    def _residual_share(self, snapshot: Snapshot, k: int, kernel: Tensor) -> np.ndarray:
        module, (x, y) = snapshot.module, snapshot.batch
        energy = module.free()
        if self.kernel == "contrast":
            right, wrong = self._pair(snapshot, k)
            residual = (energy(x, right, k) - energy(x, wrong, k)).sigmoid()[:, None]
        else:
            at = measuring_point(snapshot, k, "noised", self.seed)
            eps = (at - module.schedule.signal[k] * y) / module.schedule.noise[k]
            residual = energy.gradient(x, at, k) - eps
            fixed = module.fixed(x)
            if fixed is not None:
                residual = residual.masked_fill(fixed.mask, 0.0)
        vectors = torch.linalg.eigh(kernel).eigenvectors.flip(1)
        parts = (vectors.mT @ residual.double().cpu()).square().sum(1)
        return np.asarray(parts.cumsum(0) / parts.sum())

    def _spectra(self, drawn: Tensor) -> dict[str, Any]:
        """Eigenvalues and effective ranks, with jackknife errors over the random vectors."""
        factor = (2 if self.kernel == "score" else 1) / drawn.shape[-1]

        def measured(kernels: Tensor) -> dict[str, np.ndarray]:
            values = factor * torch.linalg.eigvalsh(kernels).flip(-1).clamp(min=0).numpy()
            return {"eigenvalues": values} | effective_ranks(values)

        found = measured(drawn.mean(1))
        vectors = drawn.shape[1]
        variables: dict[str, Any] = {}
        without = [
            measured(drawn[:, [j for j in range(vectors) if j != i]].mean(1))
            for i in range(vectors if vectors > 1 else 0)
        ]
        for name, value in found.items():
            dims = ("landscape", "layer", "rank")[: value.ndim]
            error = (
                jackknife_error(np.stack([part[name] for part in without], -1))
                if without
                else np.zeros_like(value)
            )
            variables |= {name: (dims, value), f"{name}_error": (dims, error)}
        return variables

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        part = result.sel(layer=ALL)
        columns: dict[str, Column] = {
            "largest": (part["eigenvalues"][:, 0], part["eigenvalues_error"][:, 0]),
            "participation": (part["participation"], part["participation_error"]),
            "r along first": (part["residual_share"][:, 0], None),
        }
        for target in result["target"].values:
            one = part.sel(target=target)
            columns[f"CKA with {target}"] = (one["alignment"], one["alignment_error"])
        if "drift" in part:
            columns["CKA with start"] = (part["drift"], part["drift_error"])
        title = (
            f"Tangent kernel ({self.kernel}) of {result.sizes['problem']} problems; "
            "CKA is debiased, 0 by chance"
        )
        return estimate_table(title, result["landscape"].values, columns)

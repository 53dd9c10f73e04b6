"""Statistics of gradients: of the energy in y, and of the training loss in the weights."""

from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from rich.table import Table

from ired_interp.errors import InputError, RunError
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.gradient_variables import (
    ALL,
    QUANTILES,
    landscape_cosines,
    layer_grams,
    norm_variables,
    theta_variables,
)
from ired_interp.probes.gram_statistics import effective_ranks, isotropic_participation
from ired_interp.probes.loss_gradients import LossGradients
from ired_interp.terminal import render, track


class GradientStatistics(Probe):
    """Size, direction, noise and effective rank of gradients, per landscape, and in the weights per layer.

    Parameters
    ----------
    space : "y" for the energy gradient g = ∇_y E; "theta" for the gradient of the training loss in the weights.
    landscapes : "all" or a list of k.
    point : where g is taken (space y).
    microbatch : problems behind each gradient of the loss (space theta); 1 takes the gradient of every problem.
    memory_gib : the working memory that gradients in theta may take. Where they do not fit at once, their inner products are taken chunk by chunk and
        gradients are computed again, (c + 1)/2 times for c chunks.
    seed : of the noise of the measuring point, and of the loss.
    """

    name = "gradient_statistics"

    def __init__(
        self,
        space: Literal["y", "theta"] = "y",
        landscapes: Literal["all"] | list[int] = "all",
        point: Point = "noised",
        microbatch: int = 1,
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        if space not in ("y", "theta"):
            raise InputError(f"gradient_statistics has no space {space!r}; choose 'y' or 'theta'.")
        self.space, self.landscapes, self.point, self.microbatch = (
            space,
            landscapes,
            point,
            microbatch,
        )
        self.memory_gib, self.seed = memory_gib, seed

    @property
    def label(self) -> str:
        return f"{self.name}_{self.space}"

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Returns
        -------
        Dataset over landscape. Both spaces: `norm` of each gradient, `norm_mean`, `norm_sd`, `norm_quantiles`; `eigenvalues` of the covariance with
        effective ranks `participation` and `entropy_rank`, beside `participation_isotropic`, what isotropic noise would show with as many gradients.

        Space y, with d = d_y and ε = (y − √ᾱ_k y*)/σ_k: `norm_ratio` mean ‖g‖²/d, `alignment` mean ⟨g, ε⟩/d, `cosine` mean cos(g, ε), each with
        `…_error`; for a perfect model `theory_ratio` (of both ratios: 1 − the posterior's share) and `theory_eigenvalues`.

        Space theta, also over layer: what `gram_statistics` names (signal, noise, noise_scale, snr, mean_cosine, with errors), and between
        landscapes `landscape_cosine` of the mean gradients, its noise-free estimate `landscape_cosine_corrected` from disjoint halves of the
        problems, and `cosine_chance`, the standard deviation 1/√N that random directions have.

        Raises
        ------
        InputError
            If the problems are fewer than 3 gradients need, or in theta if the energy has no weights.
        RunError
            If a gradient is not finite.
        """
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        count = len(snapshot.batch.y) // (self.microbatch if self.space == "theta" else 1)
        if count < 3:
            raise InputError(
                f"gradient_statistics has {count} gradients to compare; give at least 3 problems per microbatch."
            )
        measure = self._in_y if self.space == "y" else self._in_theta
        return measure(snapshot, landscapes)

    def _in_y(self, snapshot: Snapshot, landscapes: list[int]) -> xr.Dataset:
        per_landscape = [
            self._energy_gradient(snapshot, k) for k in track(landscapes, "gradients in y")
        ]
        found = {
            name: np.stack([values[name] for values in per_landscape]) for name in per_landscape[0]
        }
        count, d = snapshot.batch.y.shape
        variables: dict[str, Any] = norm_variables(
            found["norm"], ("landscape", "problem"), "energy / y"
        )
        for name in ("norm_ratio", "alignment", "cosine"):
            variables[name] = ("landscape", found[name].mean(1), {"units": "1"})
            variables[f"{name}_error"] = (
                "landscape",
                found[name].std(1, ddof=1) / np.sqrt(count),
                {"units": "1"},
            )
        variables["eigenvalues"] = (
            ("landscape", "rank"),
            found["eigenvalues"],
            {"units": "(energy / y)²"},
        )
        variables |= {
            name: ("landscape", v) for name, v in effective_ranks(found["eigenvalues"]).items()
        }
        variables["participation_isotropic"] = isotropic_participation(count, d)
        theory = self._theory(snapshot, landscapes)
        if theory is not None:
            variables["theory_ratio"] = ("landscape", theory.mean(1))
            variables["theory_eigenvalues"] = (("landscape", "theory_rank"), theory)
        return xr.Dataset(variables, {"landscape": landscapes, "quantile": list(QUANTILES)})

    @torch.no_grad()
    def _energy_gradient(self, snapshot: Snapshot, k: int) -> dict[str, np.ndarray]:
        module, (x, answer) = snapshot.module, snapshot.batch
        y = measuring_point(snapshot, k, self.point, self.seed)
        g = module.energy.gradient(x, y, k).double()
        if not g.isfinite().all():
            raise RunError(
                f"the energy gradient of landscape {k} is not finite; the weights or the point have diverged."
            )
        eps = (y.double() - (module.schedule.signal[k] * answer).double()) / module.schedule.noise[
            k
        ].double()
        inner, size, d = (g * eps).sum(1), g.norm(dim=1), g.shape[1]
        spread = torch.linalg.svdvals(g - g.mean(0)).square() / (len(g) - 1)
        values = {
            "norm": size,
            "norm_ratio": size.square() / d,
            "alignment": inner / d,
            "cosine": inner / (size * eps.norm(dim=1)),
            "eigenvalues": spread[: min(len(g) - 1, d)],
        }
        return {name: value.cpu().numpy() for name, value in values.items()}

    def _theory(self, snapshot: Snapshot, landscapes: list[int]) -> np.ndarray | None:
        """Eigenvalues (landscape, d) of the gradient covariance of a perfect model, σ²/(ᾱ s + σ²); their mean is E‖g‖²/d = E⟨g, ε⟩/d."""
        posterior = (
            snapshot.task.posterior(snapshot.batch.x[:1])
            if snapshot.task and self.point == "noised"
            else None
        )
        if posterior is None:
            return None
        schedule = snapshot.module.schedule
        variances = posterior.variances.double()
        signal, noise = (
            s[landscapes, None].double().square() for s in (schedule.signal, schedule.noise)
        )
        return (noise / (signal * variances + noise)).sort(descending=True).values.cpu().numpy()

    def _in_theta(self, snapshot: Snapshot, landscapes: list[int]) -> xr.Dataset:
        grams, halves = [], []
        for k in track(landscapes, "gradients in theta"):
            gradients = LossGradients(
                snapshot.module, snapshot.batch, k, self.seed, self.microbatch
            )
            gram, half_means = layer_grams(gradients, self.memory_gib * 2**30)
            grams.append(gram)
            halves.append(half_means)
        variables = theta_variables(np.stack(grams), self.microbatch, ("landscape", "layer"))
        sizes = [gradients.size, *gradients.layers.values()]
        isotropic = [isotropic_participation(gradients.count, n) for n in sizes]
        cosine, corrected = landscape_cosines(torch.cat(halves))
        pair = ("landscape", "other_landscape")
        variables |= {
            "weights": ("layer", sizes),
            "participation_isotropic": ("layer", isotropic),
            "landscape_cosine": (pair, cosine, {"long_name": "cosine of mean gradients"}),
            "landscape_cosine_corrected": (
                pair,
                corrected,
                {"long_name": "cosine of mean gradients, freed of noise"},
            ),
            "cosine_chance": gradients.size**-0.5,
        }
        layers = {"layer": [ALL, *gradients.layers], "quantile": list(QUANTILES)}
        return xr.Dataset(
            variables, {"landscape": landscapes, "other_landscape": landscapes, **layers}
        )

    def summary(self, result: xr.Dataset) -> str:
        shown = {
            "y": [
                "norm_mean",
                "norm_ratio",
                "theory_ratio",
                "alignment",
                "cosine",
                "participation",
                "entropy_rank",
            ],
            "theta": [
                "norm_mean",
                "noise_scale",
                "noise_scale_error",
                "snr",
                "mean_cosine",
                "mean_cosine_error",
                "participation",
            ],
        }[self.space]
        table = Table(
            title=f"Gradients in {self.space}, {result.sizes['problem']} of them per landscape"
        )
        columns = [name for name in shown if name in result]
        for heading in ("k", *columns):
            table.add_column(heading.replace("_", " "), justify="right")
        rows = result if self.space == "y" else result.sel(layer=ALL)
        for i, k in enumerate(result["landscape"].values):
            table.add_row(str(k), *(f"{float(rows[name][i]):.4g}" for name in columns))
        return render(table)

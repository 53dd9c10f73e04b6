"""A slice of the loss through two directions of the weights, with noise and negatives fixed."""

from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.last_update import last_update
from ired_interp.probes.settings import check_choice, check_memory, check_seed, check_setting
from ired_interp.probes.theta_spectrum import (
    MIXED,
    ThetaObjective,
    fixed_loss,
    theta_operator,
    weight_count,
)
from ired_interp.random import stream
from ired_interp.spectra import HessianOperator, lanczos
from ired_interp.terminal import track

Directions = Literal["random", "hessian"]
Normalisation = Literal["filter", "layer", "all"]
_STEP = 3e-4  # of the second difference


class ThetaSlice(Probe):
    """Loss along θ + a d₁ + b d₂, on problems, noise and negatives that stay the same.

    Landscapes are drawn as in training. Random directions are Gaussian and made as large as the
    weights: filter by filter, so that neither the scale of a layer nor that of a unit decides what
    looks flat; layer by layer; or all at once. Biases and gains, which have no filters, stay where
    normalisation is by filter.

    Parameters
    ----------
    directions : str
        "random", or the eigenvectors of the two largest eigenvalues of the "hessian", each as long
        as the weights.
    normalisation : str
        Of random directions: "filter", each row of a weight matrix; "layer", each tensor; "all".
    objective : str
        "loss" (the training loss), "score" or "energy" (mean E at the noised answer).
    reach : float
        Largest |a| and |b|: 1 moves as far as the weights are long.
    grid : int
        Points along either axis, odd.
    memory_gib : float
        Working memory in GiB of Hessian-vector products.
    seed : int
        Of noise and directions.

    Raises
    ------
    InputError
        If a setting is none of those.

    References
    ----------
    Li et al., "Visualizing the loss landscape of neural nets", NeurIPS 2018.
    """

    name = "theta_slice"

    def __init__(
        self,
        directions: Directions = "random",
        normalisation: Normalisation = "filter",
        objective: ThetaObjective = "loss",
        reach: float = 1.0,
        grid: int = 21,
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_choice(self.name, "directions", directions, Directions)
        check_choice(self.name, "normalisation", normalisation, Normalisation)
        check_choice(self.name, "objective", objective, ThetaObjective)
        check_setting(self.name, "reach", reach, 0 < reach < 1e6, "expected a positive number")
        odd = 3 <= grid <= 501 and grid % 2 == 1
        check_setting(self.name, "grid", grid, odd, "expected an odd number from 3 to 501")
        check_memory(self.name, memory_gib)
        check_seed(self.name, seed)
        self.directions, self.normalisation, self.objective = directions, normalisation, objective
        self.reach, self.grid, self.memory_gib, self.seed = reach, grid, memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse a model without weights; see `Probe.check`."""
        weight_count(module.energy)

    def small(self) -> "ThetaSlice":
        """Three points along either axis; see `Probe.small`."""
        return self.with_settings(grid=3)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows, in float64, with d₁ and d₂ as `direction` 1 and 2.

            ====================== ========= =======================================================
            variable               dims      meaning
            ====================== ========= =======================================================
            `loss`                 a, b      of the objective
            `slope`                direction ⟨∂L/∂θ, d⟩
            `curvature`            direction dᵀHd, by a Hessian-vector product
            `curvature_difference` direction the same, from the loss at ±3e-4 d
            `update_share`                   share of the optimizer's last step (its square) that
                                             lies in the plane, where that is known
            `path_share`                     the same of all that training has changed, ‖θ − θ_0‖²,
                                             where the start is known
            `…_chance`                       2/N, of a step without direction
            ====================== ========= =======================================================

        Raises
        ------
        InputError
            If the energy has no weights.
        RunError
            If the loss is not finite where it starts.
        """
        loss = fixed_loss(snapshot, self.objective, MIXED, torch.float64, self.seed)
        memory = self.memory_gib * 2**30
        operator = theta_operator(snapshot, self.objective, MIXED, torch.float64, memory, self.seed)
        weights = [p for p in loss.energy.parameters() if p.requires_grad]
        base = [p.detach().clone() for p in weights]
        vectors = self._directions(base, operator)
        pieces = [operator.unflatten(vector).values() for vector in vectors]

        @torch.no_grad()
        def at(a: float, b: float) -> float:
            for weight, start, one, two in zip(weights, base, *pieces, strict=True):
                weight.copy_(start + a * one + b * two)
            return float(loss.function(loss.data))

        middle = at(0, 0)
        if not np.isfinite(middle):
            raise RunError("the loss is not finite; the weights have diverged.")
        axis = np.linspace(-self.reach, self.reach, self.grid)
        values = [[at(a, b) for b in axis] for a in track(list(axis), "slice of the loss")]
        differences = [
            (at(*(h * unit)) + at(*(-h * unit)) - 2 * middle) / h**2
            for h, unit in ((_STEP, np.array([1, 0])), (_STEP, np.array([0, 1])))
        ]
        gradient = operator.gradient()
        unit = {"units": "loss"}
        variables: dict[str, Any] = {
            "loss": (("a", "b"), np.array(values), unit),
            "slope": ("direction", [float(gradient @ v) for v in vectors], unit),
            "curvature": ("direction", [float(v @ (operator @ v)) for v in vectors], unit),
            "curvature_difference": ("direction", differences, unit),
        }
        operator.release()
        variables |= _shares(snapshot, operator, vectors)
        return xr.Dataset(variables, {"a": axis, "b": axis, "direction": [1, 2]})

    def _directions(self, weights: list[Tensor], operator: HessianOperator) -> list[Tensor]:
        whole = operator.flatten(weights)
        if self.directions == "hessian":
            found = lanczos(operator, min(2, operator.shape[0]), "LA", seed=self.seed)
            top = found.eigenvectors.to(whole)
            return [column * whole.norm() / column.norm() for column in (top[:, 0], top[:, -1])]
        source = stream(whole.device, self.seed, "theta slice")
        return [self._random(weights, operator, source) for _ in range(2)]

    def _random(
        self, weights: list[Tensor], operator: HessianOperator, source: torch.Generator
    ) -> Tensor:
        parts = []
        for w in weights:
            d = torch.randn(w.shape, generator=source, dtype=w.dtype, device=w.device)
            if self.normalisation == "layer":
                d = d * (w.norm() / d.norm())
            elif self.normalisation == "filter":
                rows = w.flatten(1).norm(dim=1) if w.ndim > 1 else w.new_zeros(len(w))
                sizes = d.flatten(1).norm(dim=1) if w.ndim > 1 else d.abs()
                d = d * (rows / sizes).view(-1, *[1] * (w.ndim - 1))
            parts.append(d)
        vector = operator.flatten(parts)
        if self.normalisation == "all":
            vector = vector * (operator.flatten(weights).norm() / vector.norm())
        return vector

    def summary(self, result: xr.Dataset) -> str:
        """Slope and curvature of both directions; see `Probe.summary`."""
        middle = result["loss"].sel(a=0, b=0, method="nearest").item()
        highest = float(result["loss"].max())
        lines = [f"{self.objective} {middle:.4g} at the weights, {highest:.4g} at most"]
        for i in (1, 2):
            part = result.sel(direction=i)
            lines.append(
                f"direction {i}: slope {part['slope'].item():.4g}, curvature dᵀHd "
                f"{part['curvature'].item():.6g}, from differences "
                f"{part['curvature_difference'].item():.6g}"
            )
        for name, what in (("update_share", "the last step"), ("path_share", "the whole training")):
            if name in result:
                share, chance = (float(result[n]) for n in (name, f"{name}_chance"))
                found = f"{share:.2g} of the square of {what} (chance {chance:.2g})"
                lines.append(f"the plane holds {found}")
        return "\n".join(lines) + "\n"


def _shares(snapshot: Snapshot, operator: HessianOperator, vectors: list[Tensor]) -> dict[str, Any]:
    """Share of the optimizer's last step, and of the way from the start, in the vectors' plane."""
    named = {n: p for n, p in snapshot.module.named_parameters() if p.requires_grad}
    moved: dict[str, list[Tensor]] = {}
    steps, _ = last_update(snapshot.optimizer, named)
    if steps is not None:
        moved["update_share"] = [s for n, s in steps.items() if n.startswith("energy.")]
    if (initial := snapshot.initial) is not None:
        energy = snapshot.module.energy.named_parameters()
        moved["path_share"] = [w.detach() - initial[n].to(w) for n, w in energy if w.requires_grad]
    basis, unit = torch.linalg.qr(torch.stack(vectors, 1)).Q, {"units": "1"}
    variables: dict[str, Any] = {}
    for name, parts in moved.items():
        step = operator.flatten([part.double() for part in parts])
        if (size := float(step.square().sum())) > 0:
            variables[name] = ((), float((basis.mT @ step).square().sum()) / size, unit)
            variables[f"{name}_chance"] = ((), 2 / operator.shape[0], unit)
    return variables

"""Drift of subspaces: over training, over landscapes, along inference."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from rich.table import Table
from torch import Tensor

import ired_interp.probes.subspace_sources as sources
from ired_interp.diffusion import anneal
from ired_interp.errors import InputError
from ired_interp.geometry import (
    DriftHistory,
    distance_from_angles,
    drift_variables,
    principal_angles,
)
from ired_interp.geometry.variables import mean_and_error
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.random import stream
from ired_interp.tasks.base import Problems
from ired_interp.terminal import render, track

Source = Literal["hessian", "gradients", "solution", "activations"]
Axis = Literal["landscapes", "training", "inference"]
Estimate = tuple[Tensor, Tensor | None]  # a basis, and the same from independent noise or problems


class SubspaceDrift(Probe):
    """Follow a p-dimensional subspace from snapshot to snapshot, with chance, noise and noise-corrected overlap beside every number.

    Parameters
    ----------
    source : "hessian", eigenvectors of the p largest eigenvalues; "gradients", leading directions over problems; "solution", leading columns of the
        answer as a matrix, along `solve`; "activations", leading directions of a layer's output over problems.
    space : "y", or "theta" for the Hessian or the gradients of the training loss in the weights.
    axis : what the snapshots are: "landscapes" K − 1 … 0 of one model; steps of "training" (or several checkpoints), each landscape for itself; the
        iterates of one "inference", K·(T + 1) of them (space y).
    p : dimension of the subspace.
    landscapes : "all" or a list of k.
    layer : weights (theta) or activations of this layer alone.
    point : where y is (space y); the solution is always taken from the end of each landscape of `solve`.
    memory_gib : working memory. seed : of all noise.
    """

    name = "subspace_drift"

    def __init__(
        self,
        source: Source = "hessian",
        space: Literal["y", "theta"] = "y",
        axis: Axis = "landscapes",
        p: int = 2,
        landscapes: Literal["all"] | list[int] = "all",
        layer: str | None = None,
        point: Point = "noised",
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        for what, value, known in (
            ("source", source, Source),
            ("space", space, Literal["y", "theta"]),
            ("axis", axis, Axis),
        ):
            if value not in get_args(known):
                raise InputError(
                    f"subspace_drift has no {what} {value!r}; choose one of {', '.join(get_args(known))}."
                )
        if space == "theta" and (source not in ("hessian", "gradients") or axis == "inference"):
            raise InputError(
                f"subspace_drift cannot follow {source!r} along {axis!r} in theta; choose space 'y', or hessian or gradients."
            )
        if p < 1:
            raise InputError(f"subspace_drift got p={p}; a subspace needs at least 1 dimension.")
        self.source, self.space, self.axis, self.p, self.landscapes = (
            source,
            space,
            axis,
            p,
            landscapes,
        )
        self.layer, self.point, self.memory_gib, self.seed = layer, point, memory_gib, seed
        self.folder: Path | None = None  # where snapshots of training are kept; in memory if None
        self.histories: dict[int, DriftHistory] = {}
        self.origins: list[tuple[int | str, str | None]] = []

    @property
    def label(self) -> str:
        return f"{self.name}_{self.source}_{self.space}_{self.axis}"

    def settings(self) -> dict[str, Any]:
        """Its arguments and, over training, the snapshots (label, checkpoint) that the result compares."""
        own = super().settings()
        return (
            own | {"frames": [list(origin) for origin in self.origins]}
            if self.axis == "training"
            else own
        )

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure; over training, add a snapshot and compare all so far.

        Returns
        -------
        Dataset over frame, other and angle (over training also landscape) with what `geometry.drift_variables` names: angles, overlap,
        overlap_independent, overlap_corrected, geodesic, chordal, reliability, geodesic_split_half, overlap_chance, geodesic_chance, speed,
        path_length, displacement. For the solution also `overlap_answer` and `geodesic_answer`: with the column space of y* itself.

        Raises
        ------
        InputError
            If p does not fit in the space, or the source, layer and task do not fit.
        RunError
            If a value is not finite or an eigenvector does not converge.
        """
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        if self.axis == "training":
            return self._over_training(snapshot, landscapes)
        if self.axis == "inference":
            return self._along_inference(snapshot, landscapes)
        history: DriftHistory | None = None
        for k in track(
            sorted(landscapes, reverse=True), f"subspaces: {self.source} in {self.space}"
        ):
            estimate = self._estimate(snapshot, k)
            history = history if history is not None else _history_for(estimate[0], None)
            history.append(k, *estimate)
        assert history is not None
        return xr.Dataset(drift_variables(history) | self._beside_answer(history, snapshot))

    def _over_training(self, snapshot: Snapshot, landscapes: list[int]) -> xr.Dataset:
        labels = [label for label, _ in self.origins]
        label: int | str = snapshot.step
        if (label, snapshot.checkpoint) != (self.origins[-1] if self.origins else None):
            if label in labels:
                label = f"{snapshot.step}:{snapshot.checkpoint}"
            found = {
                k: self._estimate(snapshot, k)
                for k in track(landscapes, f"subspaces: {self.source} in {self.space}")
            }
            for k, estimate in found.items():
                if k not in self.histories:
                    self.histories[k] = _history_for(
                        estimate[0], self.folder and self.folder / f"landscape-{k}"
                    )
                self.histories[k].append(label, *estimate)
            self.origins.append((label, snapshot.checkpoint))
        every = [
            xr.Dataset(drift_variables(h) | self._beside_answer(h, snapshot))
            for h in self.histories.values()
        ]
        return _stack(every, list(self.histories))

    def _along_inference(self, snapshot: Snapshot, landscapes: list[int]) -> xr.Dataset:
        walks = zip(
            self._iterates(snapshot, self.seed),
            self._iterates(snapshot, self.seed + 1),
            strict=True,
        )
        history: DriftHistory | None = None
        places = []
        for position, ((k, inner, y), (_, _, other)) in enumerate(walks):
            if k not in landscapes:
                continue
            estimate = self._estimate_at(snapshot, k, y, other)
            history = history if history is not None else _history_for(estimate[0], None)
            history.append(position, *estimate)
            places.append((k, inner))
        assert history is not None
        result = xr.Dataset(drift_variables(history) | self._beside_answer(history, snapshot))
        return result.assign(
            landscape=("frame", [k for k, _ in places]),
            inner_step=("frame", [i for _, i in places]),
        )

    @torch.no_grad()
    def _iterates(self, snapshot: Snapshot, seed: int) -> list[tuple[int, int, Tensor]]:
        module, (x, y) = snapshot.module, snapshot.batch
        start = torch.randn(
            y.shape, generator=stream(y.device, seed, "start"), device=y.device, dtype=y.dtype
        )
        visited = anneal(
            module.energy, module.schedule, x, start, module.inference.within(module.value_range)
        )
        return [
            (place.k, inner, iterate.y)
            for place in visited
            for inner, iterate in enumerate(place.iterates)
        ]

    def _estimate(self, snapshot: Snapshot, k: int) -> Estimate:
        if self.space == "theta":
            first, second = (
                self._in_theta(half, k, self.seed + i) for i, half in enumerate(_halves(snapshot))
            )
            return first, second
        point = "trajectory" if self.source == "solution" else self.point
        y, other = (
            measuring_point(snapshot, k, point, seed) for seed in (self.seed, self.seed + 1)
        )
        return self._estimate_at(snapshot, k, y, None if point == "answer" else other)

    def _estimate_at(self, snapshot: Snapshot, k: int, y: Tensor, other: Tensor | None) -> Estimate:
        """At y (B, d_y). What belongs to single problems is repeated at another draw of y; what belongs to all, on the other half of the problems."""
        energy, x = snapshot.module.energy, snapshot.batch.x
        self._check_dimension(round(y.shape[1] ** 0.5) if self.source == "solution" else y.shape[1])
        if self.source == "hessian":
            points, same = (y, x) if other is None else (torch.cat([y, other]), torch.cat([x, x]))
            found = sources.hessian_directions(
                energy, same, points, k, self.p, self.memory_gib * 2**30
            )
            return found[: len(y)], None if other is None else found[len(y) :]
        if self.source == "solution":
            return sources.solution_columns(
                y, self.p
            ), None if other is None else sources.solution_columns(other, self.p)
        if self.source == "gradients":
            first, second = (
                sources.energy_gradient_span(energy, x[i::2], y[i::2], k, self.p) for i in (0, 1)
            )
        else:
            first, second = (
                sources.activation_span(energy, x[i::2], y[i::2], k, self.p, self.layer)
                for i in (0, 1)
            )
        return first, second

    def _in_theta(self, snapshot: Snapshot, k: int, seed: int) -> Tensor:
        if self.source == "hessian":
            return sources.loss_hessian_directions(
                snapshot.module, snapshot.batch, k, self.p, self.layer, seed
            )
        memory = self.memory_gib * 2**30
        return sources.loss_gradient_span(
            snapshot.module, snapshot.batch, k, self.p, self.layer, seed, memory
        )

    def _check_dimension(self, ambient: int) -> None:
        if self.source != "activations" and self.p >= ambient:
            raise InputError(
                f"subspaces of p={self.p} dimensions fill their space of {ambient}, and cannot drift; choose p below that."
            )

    def _beside_answer(self, history: DriftHistory, snapshot: Snapshot) -> dict[str, Any]:
        if self.source != "solution":
            return {}
        truth = sources.solution_columns(snapshot.batch.y, self.p).cpu()
        angles = principal_angles(torch.stack([frame.basis() for frame in history.frames]), truth)
        overlap = angles.cos().square().mean(-1)
        return mean_and_error(
            "overlap_answer", ("frame",), overlap, "overlap with the columns of y*", "1"
        ) | mean_and_error(
            "geodesic_answer",
            ("frame",),
            distance_from_angles(angles),
            "geodesic distance to the columns of y*",
            "rad",
        )

    def state_dict(self) -> dict[str, Any]:
        """The snapshots so far, for a checkpoint."""
        histories = {k: history.state_dict() for k, history in self.histories.items()}
        return {"origins": [list(o) for o in self.origins], "histories": histories}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.origins = [(label, checkpoint) for label, checkpoint in state["origins"]]
        self.histories = {}
        for k, saved in state["histories"].items():
            folder = self.folder and self.folder / f"landscape-{k}"
            history = DriftHistory(folder)
            history.load_state_dict(saved)
            self.histories[int(k)] = history

    def summary(self, result: xr.Dataset) -> str:
        low, high = (float(result["overlap_chance"].isel(bound=i).mean()) for i in (1, 2))
        table = Table(
            title=f"{self.source} in {self.space} over {self.axis}, p = {self.p}: overlaps (chance {low:.3g} to {high:.3g}) and distances"
        )
        columns = (
            "frame",
            "to previous",
            "independent",
            "corrected",
            "to first, corrected",
            "split half",
            "rad to previous",
            "split half",
        )
        for heading in columns:
            table.add_column(heading, justify="right")
        for part in (
            [result.sel(landscape=k) for k in result["landscape"].values]
            if self.axis == "training"
            else [result]
        ):
            for i, label in enumerate(part["label"].values):
                before = max(i - 1, 0)
                name = (
                    f"k = {int(part['landscape'])}, step {label}"
                    if self.axis == "training"
                    else str(label)
                )
                cells = [
                    part[v][i, before]
                    for v in ("overlap", "overlap_independent", "overlap_corrected")
                ]
                cells += [
                    part["overlap_corrected"][i, 0],
                    part["reliability"][i],
                    part["geodesic"][i, before],
                    part["geodesic_split_half"][i],
                ]
                table.add_row(name, *(f"{float(cell):.3f}" for cell in cells))
        return render(table)


def _history_for(basis: Tensor, folder: Path | None) -> DriftHistory:
    return DriftHistory(folder, torch.float32 if basis.ndim == 3 else torch.float16)


def _stack(parts: list[xr.Dataset], landscapes: list[int]) -> xr.Dataset:
    labels = parts[0]["label"]
    stacked = xr.concat([part.drop_vars("label") for part in parts], "landscape")
    return stacked.assign_coords(landscape=np.asarray(landscapes)).assign(label=labels)


def _halves(snapshot: Snapshot) -> tuple[Snapshot, Snapshot]:
    x, y = snapshot.batch
    return replace(snapshot, batch=Problems(x[0::2], y[0::2])), replace(
        snapshot, batch=Problems(x[1::2], y[1::2])
    )

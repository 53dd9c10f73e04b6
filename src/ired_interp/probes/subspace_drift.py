"""Drift of subspaces: over training, over landscapes, along inference."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.geometry import (
    DriftHistory,
    distance_from_angles,
    drift_variables,
    principal_angles,
)
from ired_interp.geometry.variables import Variable, mean_and_error
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_memory,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.subspace_frames import (
    FrameEstimator,
    Source,
    Space,
    append_frame,
)
from ired_interp.probes.subspace_pairs import Frame
from ired_interp.probes.subspace_sources_y import solution_columns
from ired_interp.probes.subspace_table import drift_table
from ired_interp.terminal import track

Axis = Literal["landscapes", "training", "inference"]


class SubspaceDrift(Probe):
    """Follow a p-dimensional subspace, with chance and noise beside every number.

    A frame is the subspace in one landscape, at one training step or in one iterate. Each is
    estimated twice: what belongs to single problems from a second draw of the noise, what belongs
    to all of them from the other half. A snapshot holds all landscapes and iterates, but one step
    only: `SubspaceTracker` keeps the frames of a training.

    Parameters
    ----------
    source : {"hessian", "gradients", "solution", "activations"}
        "hessian", eigenvectors of the p largest eigenvalues; "gradients", leading directions over
        problems; "solution", leading columns of the answer as a matrix, along `solve`;
        "activations", leading directions of a layer's output over problems.
    space : {"y", "theta"}
        "theta" for the Hessian or the gradients of the training loss in the weights.
    axis : {"landscapes", "training", "inference"}
        What the frames are: landscapes K − 1 … 0 of one model; steps of a training (or several
        checkpoints), each landscape for itself; the iterates of one inference, K·(T + 1) of them.
    p : int
        Dimension of the subspace.
    landscapes : "all" or list of int
        Which k.
    layer : str, optional
        Weights (theta) or activations of this layer alone.
    point : {"noised", "answer", "solution", "trajectory"}
        Where y is (space y); the solution is always taken from the end of each landscape of
        `solve`, and along inference y is the iterate.
    memory_gib : float, optional
        Working memory of Hessians, and of gradients in theta, half of what is free where not given.
    seed : int
        Of all noise.

    Raises
    ------
    InputError
        If a setting does not exist, does not fit the others, or would do nothing.
    """

    name = "subspace_drift"

    def __init__(
        self,
        source: Source = "hessian",
        space: Space = "y",
        axis: Axis = "landscapes",
        p: int = 2,
        landscapes: Landscapes = "all",
        layer: str | None = None,
        point: Point = "noised",
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.space, self.axis, self.p = source, space, axis, p
        self.landscapes, self.layer, self.point = landscapes, layer, point
        self.memory_gib, self.seed = memory_gib, seed
        self._check_choices()
        self._check_use()

    def _check_choices(self) -> None:
        """Refuse values that no model can make sense of.

        Raises
        ------
        InputError
            If there is one.
        """
        for what, value, known in (
            ("source", self.source, Source),
            ("space", self.space, Space),
            ("axis", self.axis, Axis),
            ("point", self.point, Point),
        ):
            check_choice(self.name, what, value, known)
        check_landscapes(self.name, self.landscapes)
        if self.space == "theta" and (
            self.source not in ("hessian", "gradients") or self.axis == "inference"
        ):
            raise InputError(
                f"subspace_drift cannot follow {self.source!r} along {self.axis!r} in theta; "
                "choose space 'y', or hessian or gradients."
            )
        check_setting(self.name, "p", self.p, self.p >= 1, "a subspace needs at least 1 dimension")
        check_memory(self.name, self.memory_gib)
        check_seed(self.name, self.seed)

    def _check_use(self) -> None:
        """Refuse settings that would do nothing.

        Raises
        ------
        InputError
            If there is one.
        """
        if self.source == "activations" and self.layer is None:
            raise InputError("subspace_drift of activations needs a layer; name one.")
        idle: dict[str, object] = {}
        if self.space == "y" and self.source != "activations" and self.layer is not None:
            idle["layer"] = self.layer
        walks = self.source == "solution" or self.axis == "inference"
        if (self.space == "theta" or walks) and self.point != "noised":
            idle["point"] = self.point
        light = self.source in ("solution", "activations") or (
            self.source == "gradients" and self.space == "y"
        )
        if light and self.memory_gib is not None:
            idle["memory_gib"] = self.memory_gib
        for name, value in idle.items():
            raise InputError(
                f"subspace_drift of {self.source} in {self.space} along {self.axis} has no use for "
                f"{name}={value!r}; leave it out."
            )

    def small(self) -> "SubspaceDrift":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    @property
    def label(self) -> str:
        """Name of its results' folder."""
        return f"{self.name}_{self.source}_{self.space}_{self.axis}"

    def check(self, module: IREDModule) -> None:
        """Refuse a model that has no such landscapes, layer or room for the subspace.

        Parameters
        ----------
        module : IREDModule
            What will be measured.

        """
        chosen_landscapes(module, self.landscapes)
        self._estimator.check(module)

    @property
    def _estimator(self) -> FrameEstimator:
        memory = self.memory_gib
        return FrameEstimator(
            self.source, self.space, self.p, self.layer, self.point, memory, self.seed
        )

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure all frames of a snapshot against each other.

        Along training that is one frame of each landscape, with its noise.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            What `geometry.drift_variables` names, over frame, other and angle, along training also
            over landscape; along inference with the frames' landscape and inner step. For the
            solution also `overlap_answer` and `geodesic_answer`, with the column space of y*.

        Raises
        ------
        InputError
            If the model does not fit the settings, or the problems are too few for p.
        RunError
            If a value is not finite or an eigenvector does not converge.
        """
        self.check(snapshot.module)
        if self.axis == "inference":
            return self._along_inference(snapshot)
        frames = self.frames(snapshot)
        if self.axis == "landscapes":
            history: DriftHistory | None = None
            for k in sorted(frames, reverse=True):
                history = append_frame(history, k, frames[k])
            assert history is not None
            return xr.Dataset(self._variables(history, snapshot))
        alone = {k: append_frame(None, snapshot.step, frame) for k, frame in frames.items()}
        return self.compare(alone, snapshot)

    def frames(self, snapshot: Snapshot) -> dict[int, Frame]:
        """Estimate the subspace in each landscape.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        dict
            Landscape → frame.
        """
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        what = f"subspaces: {self.source} in {self.space}"
        return self._estimator.in_landscapes(snapshot, track(landscapes, what))

    def compare(self, histories: Mapping[int, DriftHistory], snapshot: Snapshot) -> xr.Dataset:
        """Measure the frames of a training against each other, each landscape for itself.

        Parameters
        ----------
        histories : mapping of int to DriftHistory
            Landscape → its frames, equally labelled.
        snapshot : Snapshot
            The newest of them.

        Returns
        -------
        xarray.Dataset
            As calling the probe returns it.
        """
        parts = [self._variables(history, snapshot) for history in histories.values()]
        label = parts[0].pop("label")
        stacked: dict[str, Any] = {
            name: (("landscape", *dims), np.stack([part[name][1] for part in parts]), attributes)
            for name, (dims, _, attributes) in parts[0].items()
        }
        return xr.Dataset(stacked | {"landscape": list(histories), "label": label})

    def summary(self, result: xr.Dataset) -> str:
        """Lay the result out as a table for the terminal."""
        title = f"{self.source} in {self.space} over {self.axis}, p = {self.p}"
        return drift_table(result, title)

    def _variables(self, history: DriftHistory, snapshot: Snapshot) -> dict[str, Variable]:
        variables = drift_variables(history)
        if self.source == "solution":
            truth = solution_columns(snapshot.batch.y, self.p).cpu()
            frames = torch.stack([frame.basis() for frame in history.frames])
            angles = principal_angles(frames, truth)
            for name, long_name, units, values in (
                ("overlap", "overlap with", "1", angles.cos().square().mean(-1)),
                ("geodesic", "geodesic distance to", "rad", distance_from_angles(angles)),
            ):
                what = f"{long_name} the columns of y*"
                variables |= mean_and_error(f"{name}_answer", ("frame",), values, what, units)
        return variables

    def _along_inference(self, snapshot: Snapshot) -> xr.Dataset:
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        history: DriftHistory | None = None
        places = []
        frames = self._estimator.along_inference(snapshot, landscapes)
        for position, (k, inner, frame) in enumerate(frames):
            history = append_frame(history, position, frame)
            places.append((k, inner))
        assert history is not None
        return xr.Dataset(self._variables(history, snapshot)).assign(
            landscape=("frame", [k for k, _ in places]),
            inner_step=("frame", [inner for _, inner in places]),
        )

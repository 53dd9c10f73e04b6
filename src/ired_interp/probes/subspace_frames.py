"""One frame: a subspace estimated twice, in one landscape or in one iterate of inference."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import ired_interp.probes.subspace_sources_theta as in_theta
import ired_interp.probes.subspace_sources_y as in_y
from ired_interp.diffusion import anneal
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry import DriftHistory
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Snapshot, measuring_point
from ired_interp.probes.settings import working_memory
from ired_interp.probes.subspace_pairs import Frame, Pair, frame_of_vectors, frames_of_matrices
from ired_interp.random import stream
from ired_interp.tasks.base import Problems

Source = Literal["hessian", "gradients", "solution", "activations"]
Space = Literal["y", "theta"]

_OF_MATRICES = ("hessian", "solution")
_TOGETHER = 1 << 26  # entries of the matrices that are decomposed at a time


@dataclass(frozen=True)
class FrameEstimator:
    """How a subspace is estimated, and again independently.

    What belongs to single problems is repeated at a second draw of the noise, what belongs to all
    of them with the other half.

    Parameters
    ----------
    source, space, p, layer, point, memory_gib, seed
        As in `SubspaceDrift`.
    """

    source: Source
    space: Space
    p: int
    layer: str | None
    point: Point
    memory_gib: float | None
    seed: int

    def check(self, module: IREDModule) -> None:
        """Refuse a model that has no such layer, or no room for the subspace.

        Parameters
        ----------
        module : IREDModule
            What will be measured.

        Raises
        ------
        InputError
            If it does not fit.
        """
        if self.space == "theta":
            sizes = in_theta.layer_sizes(module.energy)
            if self.layer is not None and self.layer not in sizes:
                raise InputError(
                    f"there is no layer {self.layer!r} with weights; choose one of "
                    f"{', '.join(sizes)}."
                )
            room = sum(sizes.values()) if self.layer is None else sizes[self.layer]
        elif self.source == "activations":
            widths = in_y.activation_widths(module)
            if self.layer not in widths:
                raise InputError(
                    f"layer {self.layer!r} has no activations per problem; choose one of "
                    f"{', '.join(widths) or 'none'}."
                )
            room = widths[self.layer]
        else:
            size = module.solution_dim
            room = in_y.matrix_side(size) if self.source == "solution" else size
        if self.p >= room:
            raise InputError(
                f"subspaces of p={self.p} dimensions fill their space of {room}, and cannot drift; "
                "choose p below that."
            )

    def in_landscapes(self, snapshot: Snapshot, landscapes: Iterable[int]) -> dict[int, Frame]:
        """Estimate the subspace in each of some landscapes.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.
        landscapes : iterable of int
            Which.

        Returns
        -------
        dict
            Landscape → frame, without a repeat at the answer itself, where no noise is drawn.
        """
        if self.space == "theta":
            return {k: self._in_theta(snapshot, k) for k in landscapes}
        found: dict[int, Frame] = {}
        waiting: dict[int, Pair] = {}  # whose eigenvectors a GPU finds faster together
        for k in landscapes:
            y, other = self._points(snapshot, k)
            if self.source not in _OF_MATRICES:
                found[k] = self._at(snapshot, k, y, other)
                continue
            waiting[k] = pair = self._matrices(snapshot, k, y, other)
            if len(waiting) * pair[0].numel() >= _TOGETHER:
                found |= self._decomposed(waiting)
                waiting = {}
        return found | self._decomposed(waiting)

    def _decomposed(self, pairs: dict[int, Pair]) -> dict[int, Frame]:
        if not pairs:
            return {}
        return dict(zip(pairs, frames_of_matrices(list(pairs.values()), self.p), strict=True))

    def _points(self, snapshot: Snapshot, k: int) -> tuple[Tensor, Tensor | None]:
        point: Point = "trajectory" if self.source == "solution" else self.point
        y, other = (
            measuring_point(snapshot, k, point, seed) for seed in (self.seed, self.seed + 1)
        )
        return y, None if point == "answer" else other

    def _matrices(self, snapshot: Snapshot, k: int, y: Tensor, other: Tensor | None) -> Pair:
        """Matrices at y (B, d_y) whose eigenvectors span the subspace, and at another draw."""
        if self.source == "solution":
            return in_y.column_grams(y), None if other is None else in_y.column_grams(other)
        energy, x = snapshot.module.free(), snapshot.batch.x
        points, same = (y, x) if other is None else (torch.cat([y, other]), torch.cat([x, x]))
        memory = working_memory(self.memory_gib, y.device)
        found = in_y.hessians(energy, same, points, k, memory)
        return found[: len(y)], None if other is None else found[len(y) :]

    def along_inference(
        self, snapshot: Snapshot, landscapes: list[int]
    ) -> Iterator[tuple[int, int, Frame]]:
        """Estimate the subspace in every iterate of inference.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.
        landscapes : list of int
            Whose iterates.

        Yields
        ------
        tuple
            Landscape, inner step and frame.
        """
        walks = (self._iterates(snapshot, seed) for seed in (self.seed, self.seed + 1))
        for (k, inner, y), (_, _, other) in zip(*walks, strict=True):
            if k in landscapes:
                yield k, inner, self._at(snapshot, k, y, other)

    @torch.no_grad()
    def _iterates(self, snapshot: Snapshot, seed: int) -> list[tuple[int, int, Tensor]]:
        module, (x, y) = snapshot.module, snapshot.batch
        generator = stream(y.device, seed, "start")
        start = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        inference = module.settled(module.inference)
        return [
            (place.k, inner, iterate.y)
            for place in anneal(module.free(), module.schedule, x, start, inference)
            for inner, iterate in enumerate(place.iterates)
        ]

    def _at(self, snapshot: Snapshot, k: int, y: Tensor, other: Tensor | None) -> Frame:
        """At y (B, d_y), and again at another draw of it or with the other half of the problems."""
        if self.source in _OF_MATRICES:
            (frame,) = self._decomposed({k: self._matrices(snapshot, k, y, other)}).values()
            return frame
        energy, x, p = snapshot.module.free(), snapshot.batch.x, self.p
        own = energy if self.source == "gradients" else snapshot.module.energy
        rows = self._rows(own, x, y, k)
        what = "energy gradients" if self.source == "gradients" else f"activations of {self.layer}"
        return frame_of_vectors((rows[::2], rows[1::2]), p, what)

    @torch.no_grad()
    def _rows(self, energy: Energy, x: Tensor, y: Tensor, k: int) -> Tensor:
        """One vector a problem."""
        if self.source == "gradients":
            return energy.gradient(x, y, k)
        assert self.layer is not None
        return in_y.activations(energy, x, y, k)[self.layer]

    def _in_theta(self, snapshot: Snapshot, k: int) -> Frame:
        """From every other problem, with noise of its own."""
        module, (x, y), p, layer = snapshot.module, snapshot.batch, self.p, self.layer
        halves = Problems(x[::2], y[::2]), Problems(x[1::2], y[1::2])
        seeds, memory = (self.seed, self.seed + 1), working_memory(self.memory_gib, y.device)
        if self.source == "hessian":
            return in_theta.loss_hessian_frame(module, halves, k, p, layer, seeds, memory)
        first, second = (
            in_theta.loss_gradient_rows(module, half, k, layer, seed, memory / 2)
            for half, seed in zip(halves, seeds, strict=True)
        )
        return frame_of_vectors((first, second), p, "loss gradients")


def append_frame(
    history: DriftHistory | None, label: int | str, frame: Frame, folder: Path | None = None
) -> DriftHistory:
    """Append a frame to a history.

    Parameters
    ----------
    history : DriftHistory, optional
        Where to; a new one is made where there is none, in float16 for one long subspace, in
        float32 for those of single problems.
    label : int or str
        Of the frame.
    frame : Frame
        Bases, their repeat, and the gap.
    folder : Path, optional
        Where a new history keeps its frames; in memory without it.

    Returns
    -------
    DriftHistory
        The history.
    """
    if history is None:
        history = DriftHistory(folder, torch.float32 if frame[0].ndim == 3 else torch.float16)
    history.append(label, *frame)
    return history

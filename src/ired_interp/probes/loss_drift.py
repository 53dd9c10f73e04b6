"""Drift over training of subspaces in the weights that any loss singles out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.geometry import DriftHistory, drift_variables
from ired_interp.probes.batch_gradients import BatchGradients
from ired_interp.probes.gradient_rows import layer_of
from ired_interp.probes.loss_probe import LossProbe, LossSnapshot
from ired_interp.probes.settings import (
    check_choice,
    check_memory,
    check_setting,
    working_memory,
)
from ired_interp.probes.subspace_frames import append_frame
from ired_interp.probes.subspace_pairs import Frame, frame_of_vectors
from ired_interp.probes.subspace_sources_theta import frame_of_hessians
from ired_interp.spectra import HessianOperator
from ired_interp.spectra.cuts import chunks
from ired_interp.spectra.structure import row_count
from ired_interp.terminal import log

_PARTS = 4
LossSource = Literal["hessian", "gradients"]


class LossDrift(LossProbe):
    """Follow the leading p directions of a loss in its weights, with chance and noise beside them.

    Every call adds a frame: the subspace at one step, estimated from every other batch and again
    from the rest. The result compares all frames so far.

    Parameters
    ----------
    source : {"hessian", "gradients"}
        Eigenvectors of the p largest eigenvalues of the Hessian; or leading directions of the
        gradients of samples, or of what `BatchGradients` can tell apart.
    p : int
        Dimension of the subspace.
    layer : str, optional
        Weights of this layer alone.
    gradients : int
        How many gradients to take of each half of the batches at most.
    memory_gib : float, optional
        Working memory in GiB, half of what is free where not given.
    seed : int
        Of Lanczos.

    Attributes
    ----------
    folder : Path, optional
        Where frames are kept; in memory without it.

    Raises
    ------
    InputError
        If a setting does not exist or is too small.
    """

    least_batches = 2

    def __init__(
        self,
        source: LossSource = "hessian",
        p: int = 2,
        layer: str | None = None,
        gradients: int = 64,
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.p, self.layer = source, p, layer
        self.gradients, self.memory_gib, self.seed = gradients, memory_gib, seed
        check_choice("subspace_drift", "source", source, LossSource)
        for name, value, fits, expected in (
            ("p", p, p >= 1, "a subspace needs at least 1 dimension"),
            ("gradients", gradients, gradients >= p, f"{p} dimensions need as many"),
        ):
            check_setting("subspace_drift", name, value, fits, expected)
        check_memory("subspace_drift", memory_gib)
        self.label = f"subspace_drift_{source}_theta_training"
        self.folder: Path | None = None
        self._history: DriftHistory | None = None

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse a layer that is not there, or a subspace that fills its space.

        Parameters
        ----------
        weights : mapping of str to Tensor
            Those of the loss.

        Raises
        ------
        InputError
            If there is no such layer, or no room to drift.
        """
        chosen = self._chosen(weights)
        if not chosen:
            layers = ", ".join(dict.fromkeys(map(layer_of, weights)))
            raise InputError(
                f"there is no layer {self.layer!r} with weights; choose one of {layers}."
            )
        room = sum(w.numel() for w in chosen.values())
        if self.p >= room:
            raise InputError(
                f"subspaces of p={self.p} dimensions fill their space of {room}, and cannot drift; "
                "choose p below that."
            )

    def __call__(self, snapshot: LossSnapshot) -> xr.Dataset:
        """Add a frame and compare all so far; the newest step again adds nothing.

        Parameters
        ----------
        snapshot : LossSnapshot
            Loss and batches.

        Returns
        -------
        xarray.Dataset
            Over frame, other and angle, what `geometry.drift_variables` names.
        """
        if self._history is None or self._history.labels[-1] != snapshot.step:
            frame = self._frame(snapshot)
            self._history = append_frame(self._history, snapshot.step, frame, self.folder)
        return xr.Dataset(drift_variables(self._history))

    @property
    def steps(self) -> list[Any]:
        """Updates done at each frame."""
        return self._history.labels if self._history else []

    def place(self, folder: Path, step: int) -> None:
        """Say where frames are kept, and forget those of another training.

        Parameters
        ----------
        folder : Path
            Where to keep them; of a training that goes on they stay where they were.
        step : int
            Updates done, at which the training begins or goes on.
        """
        if self.steps and self.steps[-1] > step:
            self._history = None
        if self._history is None:
            self.folder = folder

    def state_dict(self) -> dict[str, Any]:
        """Return the frames so far, for a checkpoint."""
        if self._history is None:
            return {}
        folder = str(self.folder.resolve()) if self.folder else None
        return {"folder": folder, "history": self._history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; where its frames are lost, the history begins anew.

        Parameters
        ----------
        state : dict
            As `state_dict` returned it.
        """
        self._history = None
        if state:
            self.folder = Path(state["folder"]) if state["folder"] else None
            history = DriftHistory(self.folder)
            try:
                history.load_state_dict(state["history"])
            except InputError as error:
                log(f"{self.label} begins anew: {error}")
            else:
                self._history = history

    def _chosen(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: w for n, w in weights.items() if self.layer in (None, layer_of(n))}

    def _frame(self, snapshot: LossSnapshot) -> Frame:
        loss = snapshot.loss
        memory = working_memory(self.memory_gib, next(iter(loss.weights.values())).device)
        halves = [snapshot.batches[half::2] for half in (0, 1)]
        if self.source == "hessian":
            chosen = self._chosen(loss.weights)

            def hessian(batches: Sequence[Any], limit: int | None = None) -> HessianOperator:
                return HessianOperator(loss, chosen, batches=batches, weights="equal", memory=limit)

            wholes = [hessian(half, int(memory / 2)) for half in halves]
            parts = [
                [hessian([part]) for batch in half for part in _parts(batch)] for half in halves
            ]
            seeds = self.seed, self.seed + 1
            return frame_of_hessians(wholes, parts, self.p, memory / 2, seeds, "the loss")
        rows = [BatchGradients(loss, half, self.gradients) for half in halves]
        if (count := min(one.count for one in rows)) <= self.p:
            raise InputError(
                f"{self.label} has {count} gradients of half of the batches ({rows[0].how}) for "
                f"p={self.p} dimensions; raise batches, or choose a smaller p."
            )
        first, second = (one.rows(self.layer, memory / 2) for one in rows)
        return frame_of_vectors((first, second), self.p, "loss gradients")


def _parts(batch: Any) -> Iterator[Any]:
    """Cut a batch into parts over which the eigengap scatters, if its samples can be told apart."""
    try:
        count = min(_PARTS, row_count(batch))
    except InputError:
        count = 1
    return chunks(batch, count)

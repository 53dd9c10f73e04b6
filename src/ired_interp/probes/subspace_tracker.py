"""The frames of a training: what `SubspaceDrift`, which sees one snapshot, cannot know."""

from pathlib import Path
from typing import Any

import xarray as xr

from ired_interp.geometry import DriftHistory
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.subspace_drift import SubspaceDrift
from ired_interp.probes.subspace_frames import append_frame


class SubspaceTracker(Probe):
    """Hold the frames that a drift over training has met, and add one with every snapshot.

    It measures in the probe's place, with a result that compares all frames so far. Of all that
    measures it alone has a state: the holder of a training (a callback, a command) makes one, shows
    it the snapshots in turn and keeps it.

    Parameters
    ----------
    drift : SubspaceDrift
        Along training.
    folder : Path, optional
        Where frames are kept; in memory without it.

    Attributes
    ----------
    histories : dict
        Landscape → its frames.
    origins : list of tuple
        Label and checkpoint of each snapshot, in the order in which they came.
    """

    def __init__(self, drift: SubspaceDrift, folder: Path | None = None) -> None:
        self.drift, self.folder = drift, folder
        self.histories: dict[int, DriftHistory] = {}
        self.origins: list[tuple[int | str, str | None]] = []

    @property
    def label(self) -> str:
        """Name of its results' folder."""
        return self.drift.label

    def settings(self) -> dict[str, Any]:
        """Return those of the probe, and the frames with which a result compares the next one."""
        return self.drift.settings() | {"frames": [list(origin) for origin in self.origins]}

    def small(self) -> "SubspaceTracker":
        """Return a tracker of the small probe, without frames; see `Probe.small`."""
        return SubspaceTracker(self.drift.small(), self.folder)

    def check(self, module: IREDModule) -> None:
        """Refuse a model that does not fit the probe's settings.

        Parameters
        ----------
        module : IREDModule
            What will be measured.
        """
        self.drift.check(module)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Add the frames of a snapshot and compare all so far.

        The newest snapshot again (the same step of the same checkpoint) adds nothing; where the
        measurement fails, the frames stay as they were.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As `SubspaceDrift` returns it, over landscape too.
        """
        self.check(snapshot.module)
        label: int | str = snapshot.step
        if not self.origins or self.origins[-1] != (label, snapshot.checkpoint):
            if label in (known for known, _ in self.origins):
                label = f"{snapshot.step}:{snapshot.checkpoint}"
            for k, frame in self.drift.frames(snapshot).items():
                folder = self.folder and self.folder / f"landscape-{k}"
                self.histories[k] = append_frame(self.histories.get(k), label, frame, folder)
            self.origins.append((label, snapshot.checkpoint))
        return self.drift.compare(self.histories, snapshot)

    def summary(self, result: xr.Dataset) -> str:
        """Lay the result out as a table for the terminal."""
        return self.drift.summary(result)

    @property
    def steps(self) -> list[int | str]:
        """Labels of the frames so far: updates done."""
        return [label for label, _ in self.origins]

    def state_dict(self) -> dict[str, Any]:
        """Return the frames so far, for a checkpoint."""
        histories = {k: history.state_dict() for k, history in self.histories.items()}
        return {"origins": [list(origin) for origin in self.origins], "histories": histories}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Parameters
        ----------
        state : dict
            As `state_dict` returned it.
        """
        self.origins = [(label, checkpoint) for label, checkpoint in state["origins"]]
        self.histories = {}
        for k, saved in state["histories"].items():
            history = DriftHistory(self.folder and self.folder / f"landscape-{k}")
            history.load_state_dict(saved)
            self.histories[int(k)] = history


def tracking(probe: Probe) -> Probe:
    """Make what measures the snapshots of one training in turn.

    Parameters
    ----------
    probe : Probe
        Any.

    Returns
    -------
    Probe
        A tracker of a drift along training; any other probe itself, as it sees each snapshot alone.
    """
    if isinstance(probe, SubspaceDrift) and probe.axis == "training":
        return SubspaceTracker(probe)
    return probe

"""SubspaceTracker: the frames of a training, which go on after a stop and stay whole after a
fault."""

from dataclasses import replace

import pytest
import torch

from ired_interp.errors import InputError, RunError
from ired_interp.probes import Snapshot, SubspaceDrift
from ired_interp.probes.subspace_frames import Source, Space
from ired_interp.probes.subspace_tracker import SubspaceTracker, tracking


def turned(network: Snapshot, step: int = 100) -> Snapshot:
    """The same network, trained on."""
    with torch.no_grad():
        next(network.module.energy.parameters()).mul_(1.5)
        network.module.energy.fc2.weight.add_(0.1)  # type: ignore[union-attr,operator]
    return replace(network, step=step)


@pytest.mark.parametrize(("source", "space"), [("hessian", "y"), ("gradients", "theta")])
def test_a_history_goes_on_from_its_state(network: Snapshot, source: Source, space: Space) -> None:
    drift = SubspaceDrift(source, space, "training", landscapes=[0, 7])
    whole, first, second = (SubspaceTracker(drift) for _ in range(3))
    for tracker in (whole, first):
        tracker(network)
    second.load_state_dict(first.state_dict())
    later = turned(network)
    expected, found = whole(later), second(later)
    assert expected.identical(found)
    assert found.sizes["frame"] == 2
    assert float(second.histories[0].angles()[0, 1].max()) > 1e-3
    assert second(later).sizes["frame"] == 2  # measured again at the same step: the same frame
    assert second.settings()["frames"] == [[0, None], [100, None]]


def test_the_first_snapshot_is_what_the_probe_alone_makes_of_it(network: Snapshot) -> None:
    drift = SubspaceDrift(axis="training", landscapes=[0, 7])
    assert SubspaceTracker(drift)(network).identical(drift(network))


def test_diverged_weights_leave_the_history_whole(network: Snapshot) -> None:
    tracker = SubspaceTracker(SubspaceDrift("hessian", axis="training", landscapes=[0, 7]))
    tracker(network)
    network.module.energy.fc3.weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(RunError, match="not finite"):
        tracker(replace(network, step=100))
    assert {len(history) for history in tracker.histories.values()} == {1}
    assert tracker.origins == [(0, None)]


def test_a_step_of_another_checkpoint_is_another_frame(network: Snapshot) -> None:
    tracker = SubspaceTracker(SubspaceDrift(axis="training", landscapes=[3]))
    tracker(replace(network, checkpoint="a"))
    found = tracker(replace(turned(network, 0), checkpoint="b"))
    assert list(found["label"].values) == ["0", "0:b"]


def test_only_a_drift_over_training_needs_a_tracker(network: Snapshot) -> None:
    alone = SubspaceDrift(axis="landscapes")
    assert tracking(alone) is alone
    tracker = tracking(SubspaceDrift(axis="training", p=16))
    assert isinstance(tracker, SubspaceTracker)
    assert tracker.label == "subspace_drift_hessian_y_training"
    with pytest.raises(InputError, match="p=16"):
        tracker.check(network.module)

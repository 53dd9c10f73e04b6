"""Slices of the loss against Hessian products, trainings moved by hand, and a net rescaled without effect."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import Snapshot, ThetaSlice
from ired_interp.probes.theta_spectrum import MIXED, theta_operator
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy, Inverse

pytestmark = pytest.mark.process


@pytest.mark.parametrize("normalisation", ["filter", "layer", "all"])
def test_second_differences_are_products_of_the_hessian(
    network: Snapshot, normalisation: str
) -> None:
    found = ThetaSlice(normalisation=normalisation, objective="score", grid=3)(network)
    # A loss near 1 is rounded by 1e-16, which (3e-4)² makes 5e-9.
    difference = found["curvature_difference"]
    np.testing.assert_allclose(difference, found["curvature"], rtol=1e-6, atol=5e-9)
    a = found["loss"].sel(b=0)
    assert found["loss"].dims == ("a", "b")
    assert float(a.sel(a=1) + a.sel(a=-1) - 2 * a.sel(a=0)) != pytest.approx(0)


def test_a_point_of_the_slice_is_the_loss_of_the_weights_moved_there(network: Snapshot) -> None:
    """The noise stays the same: moving the weights by hand moves the middle of the slice."""
    probe = ThetaSlice(objective="score", grid=5, reach=0.5)
    found = probe(network)
    moved = deepcopy(network.module)
    weights = [p for p in moved.energy.parameters() if p.requires_grad]
    operator = theta_operator(network, "score", MIXED, torch.float64, 2**30, 0)
    drawn = probe._directions([p.detach().double() for p in weights], operator)
    with torch.no_grad():
        for weight, one, two in zip(
            weights, *(operator.unflatten(v).values() for v in drawn), strict=True
        ):
            weight += 0.5 * one - 0.25 * two
    there = probe(Snapshot(moved, network.batch, network.task))
    middle = there["loss"].sel(a=0, b=0, method="nearest").item()
    assert found["loss"].sel(a=0.5, b=-0.25).item() == pytest.approx(middle, rel=1e-5)


def test_filters_have_the_length_of_their_weights(network: Snapshot) -> None:
    weights = [p.detach().double() for p in network.module.energy.parameters()]
    operator = theta_operator(network, "score", MIXED, torch.float64, 2**30, 0)
    for vector in ThetaSlice()._directions(weights, operator):
        for weight, part in zip(weights, operator.unflatten(vector).values(), strict=True):
            if weight.ndim > 1:
                torch.testing.assert_close(part.norm(dim=1), weight.norm(dim=1))
            else:
                assert not part.any()
    (one, _) = ThetaSlice(normalisation="layer")._directions(weights, operator)
    for weight, part in zip(weights, operator.unflatten(one).values(), strict=True):
        torch.testing.assert_close(part.norm(), weight.norm())


class Positive(Energy):
    """‖W₂ relu(W₁[x; y])‖²: as good with W₁ twice and W₂ half as large."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.first, self.second = nn.Linear(8, 6, bias=False), nn.Linear(6, 4, bias=False)

    def evaluate(self, context: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return self.second(F.relu(self.first(torch.cat([context[0], y], 1)))).square().sum(1)


def rescalable() -> Snapshot:
    task = Inverse(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Snapshot(IREDModule(Positive()), task.sample(8, stream("cpu", 1)), task)


def test_the_leading_eigenvectors_have_the_leading_curvatures() -> None:
    network = rescalable()
    found = ThetaSlice(directions="hessian", objective="score", grid=3)(network)
    operator = theta_operator(network, "score", MIXED, torch.float64, 2**30, 0)
    dense = torch.stack([operator @ row for row in torch.eye(operator.shape[0]).double()])
    size = operator.flatten([p.detach() for p in operator.parameters]).square().sum()
    exact = torch.linalg.eigvalsh(dense).flip(0)[:2] * size
    np.testing.assert_allclose(found["curvature"], exact, rtol=1e-3)


def test_a_net_rescaled_without_effect_has_the_same_slice_by_filters_alone() -> None:
    snapshot = rescalable()
    one, two = snapshot.module, deepcopy(snapshot.module)
    two.energy.first.weight.data *= 4
    two.energy.second.weight.data /= 4
    for normalisation, same in (("filter", True), ("all", False)):
        probe = ThetaSlice(normalisation=normalisation, objective="score", grid=3)
        first, second = (probe(replace(snapshot, module=module))["loss"] for module in (one, two))
        assert np.allclose(first, second, rtol=1e-5) is same


def test_the_share_of_the_last_step_that_a_plane_holds(network: Snapshot) -> None:
    module = deepcopy(network.module)
    operator = theta_operator(network, "score", MIXED, torch.float64, 2**30, 0)
    probe = ThetaSlice(objective="score", grid=3)
    weights = [p.detach().double() for p in module.energy.parameters()]
    one, two = probe._directions(weights, operator)
    out = torch.randn(len(one), generator=stream("cpu", 4)).double()
    basis = torch.linalg.qr(torch.stack([one, two, out], 1)).Q
    step = 3 * basis[:, 0] + 4 * basis[:, 2]  # 9 of 25 in the plane
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for parameter, part in zip(module.parameters(), operator.unflatten(step).values(), strict=True):
        parameter.grad = part.float()
    optimizer.step()
    snapshot = Snapshot(
        network.module, network.batch, network.task, optimizer=optimizer.state_dict()
    )
    found = probe(snapshot)
    assert found["update_share"].item() == pytest.approx(9 / 25, rel=1e-4)
    assert found["update_share_chance"].item() == 2 / len(one)
    assert "update_share" not in probe(network)


def test_the_share_of_the_whole_training_that_a_plane_holds() -> None:
    """Moved along the first direction and as far across the plane: a half, rounding aside."""
    snapshot = rescalable()
    probe = ThetaSlice(objective="score", grid=3, normalisation="layer")
    operator = theta_operator(snapshot, "score", MIXED, torch.float64, 2**30, 0)
    weights = [p.detach() for p in snapshot.module.energy.parameters()]
    drawn = probe._directions([w.double() for w in weights], operator)
    out = torch.randn(len(drawn[0]), generator=stream("cpu", 4)).double()
    basis = torch.linalg.qr(torch.stack([*drawn, out], 1)).Q
    way = 0.01 * (basis[:, 0] + basis[:, 2])
    names = [n for n, _ in snapshot.module.energy.named_parameters()]
    parts = operator.unflatten(way).values()
    initial = {n: (w - part).float() for n, w, part in zip(names, weights, parts, strict=True)}
    found = probe(replace(snapshot, initial=initial))
    assert found["path_share"].item() == pytest.approx(0.5, abs=1e-4)
    assert found["path_share_chance"].item() == 2 / len(way)
    start = {n: w.clone() for n, w in zip(names, weights, strict=True)}
    assert "path_share" not in probe(replace(snapshot, initial=start)), "nothing has moved"
    assert "path_share" not in probe(snapshot)


def test_complaints(network: Snapshot) -> None:
    with pytest.raises(InputError, match="ExactEnergy has none"):
        ThetaSlice().check(IREDModule(ExactEnergy(Inverse(2))))
    for parameter in network.module.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(RunError, match="loss is not finite"):
        ThetaSlice(grid=3)(network)

"""The interval of a path's length holds it, whatever noise its steps share or drown in."""

import pytest
import torch
from torch import Tensor

from ired_interp.geometry import orthonormal_basis, principal_angles
from ired_interp.geometry.corrected import corrected_pairs
from ired_interp.geometry.travel import travel

pytestmark = pytest.mark.process

N, P, COUNT = 16, 2, 12


def tangent(planes: Tensor, rng: torch.Generator) -> Tensor:
    raw = torch.randn(planes.shape, generator=rng).double()
    return orthonormal_basis(raw - planes @ (planes.mT @ raw))


def measured(planes: list[Tensor], shared: bool, rng: torch.Generator) -> dict[str, Tensor]:
    """Frames (B, N, p) seen twice each, through noise of half their size."""

    def noise() -> Tensor:
        return 0.5 * torch.randn(2, COUNT, N, P, generator=rng).double() / N**0.5

    batch = noise()
    seen = torch.stack([plane + (batch if shared else noise()) for plane in planes])
    first, repeat = seen[:, 0], seen[:, 1]
    same = principal_angles(first[:, None], first[None])
    crossed = principal_angles(first[:, None], repeat[None])
    overlaps = [angles.cos().square().mean(-1) for angles in (crossed, same)]
    corrected = corrected_pairs(*overlaps, N, P, 0.2)
    floor = torch.zeros(same.shape[:3], dtype=torch.float64)
    return travel(same, floor, corrected, P, torch.arange(len(planes)).double())


@pytest.mark.parametrize(
    ("straight", "shared"),
    [(True, True), (False, False)],
    ids=["straight, shared noise", "wandering, own noise"],
)
def test_the_interval_of_a_path_holds_its_length(straight: bool, shared: bool) -> None:
    """Noise shared by all frames makes errors of steps equal, so that they add up as steps do;
    noise of its own hides steps of 0.1 rad, of which a mean over roots misses most."""
    rng, frames, step = torch.Generator().manual_seed(1), 16, 0.1
    held, errors, lengths = 0, [], []
    turn = torch.tensor(step / P**0.5)
    for _ in range(25):
        plane = orthonormal_basis(torch.randn(COUNT, N, P, generator=rng).double())
        planes, onward = [plane], tangent(plane, rng)
        for _ in range(frames - 1):
            plane, onward = (
                turn.cos() * plane + turn.sin() * onward,
                turn.cos() * onward - turn.sin() * plane,
            )
            onward = onward if straight else tangent(plane, rng)
            planes.append(plane)
        moved = measured(planes, shared, rng)
        lengths.append(float(moved["path_length"][-1]))
        errors.append(float(moved["path_length_error"][-1]))
        held += abs(lengths[-1] - step * (frames - 1)) < 2 * errors[-1]
    assert held >= 21  # of 25; 23.75 expected of 95 %
    if shared:  # steps are resolved, so that the interval is no wider than it must be
        scatter = float(torch.tensor(lengths).std())
        assert sum(errors) / len(errors) < 1.6 * scatter

"""The named values inside the MLP energy: they are what the energy is computed from, and all of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.energy import Energy, FixedEntries, HeldEnergy, MLPEnergy
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule

NAMES = ["x_path", "y_path", "u1", "h1", "mod2", "h2", "mod3", "h3", "o"]


@pytest.fixture
def at(small_energy: MLPEnergy) -> tuple[MLPEnergy, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(7, d, generator=draw, dtype=torch.float64) for d in (6, 5))
    return small_energy, x, y, torch.tensor([0, 9, 4, 5, 2, 7, 1])


def test_sites_are_the_values_that_the_energy_is_made_of(at) -> None:
    energy, x, y, k = at
    found, sites = energy.sites(energy.condition(x, k), y)
    assert list(sites) == NAMES
    assert torch.equal(found, energy(x, y, k))
    shapes = {name: tuple(value.shape) for name, value in sites.items()}
    assert shapes == dict.fromkeys(NAMES, (7, 16)) | {
        "mod2": (2, 7, 16),
        "mod3": (2, 7, 16),
        "o": (7, 5),
    }
    u1 = energy.fc1(torch.cat([x, y], 1))
    torch.testing.assert_close(sites["u1"], u1, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sites["x_path"] + sites["y_path"], u1, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sites["h1"], F.silu(u1), rtol=1e-12, atol=1e-12)
    gain, shift = energy.t_map_fc2(energy.time_mlp(torch.arange(10.0).double()))[k].chunk(2, 1)
    torch.testing.assert_close(sites["mod2"], torch.stack([gain + 1, shift]))
    torch.testing.assert_close(sites["o"], energy.fc4(sites["h3"]))
    torch.testing.assert_close(found, sites["o"].square().sum(1))


def test_a_site_patched_with_its_own_value_changes_nothing_and_with_anothers_what_follows(
    at,
) -> None:
    """The energy is a chain: o, u1 with both modulations, or x_path with y_path carry all of it."""
    energy, x, y, k = at
    context = energy.condition(x, k)
    clean, own = energy.sites(context, y)
    other = energy.condition(x.roll(1, 0), k.roll(1))
    corrupted = energy(x.roll(1, 0), y.roll(1, 0), k.roll(1))
    for name in NAMES:
        again, _ = energy.sites(context, y, lambda n, v, name=name: own[n] if n == name else v)
        assert torch.equal(again, clean), name
    for names in (["o"], ["h3"], ["u1", "mod2", "mod3"], ["x_path", "y_path", "mod2", "mod3"]):
        patched, _ = energy.sites(
            other, y.roll(1, 0), lambda n, v, names=names: own[n] if n in names else v
        )
        assert torch.equal(patched, clean), names
    for name in ("u1", "mod2", "x_path"):  # alone they are not all of it
        patched, sites = energy.sites(
            other, y.roll(1, 0), lambda n, v, name=name: own[n] if n == name else v
        )
        assert torch.equal(sites[name], own[name])
        assert not torch.isclose(patched, corrupted).any(), name
        assert not torch.isclose(patched, clean).any(), name


def test_gradients_flow_through_edited_sites(at) -> None:
    """d E/d y by the site o, whose closed form is 2 Jᵀo, and none where y_path is replaced."""
    energy, x, y, k = at
    y = y.clone().requires_grad_()
    context = energy.condition(x, k)
    total = energy.sites(context, y)[0].sum()
    (gradient,) = torch.autograd.grad(total, y)
    torch.testing.assert_close(gradient, energy.gradient(x, y, k), rtol=1e-10, atol=1e-12)
    cut, _ = energy.sites(context, y, lambda n, v: v.detach() if n == "y_path" else v)
    assert torch.autograd.grad(cut.sum(), y, allow_unused=True) == (None,)


def test_given_entries_are_held_on_the_way_to_the_sites(at) -> None:
    energy, x, y, k = at
    mask = torch.tensor([True, False, False, True, False]).expand(7, 5)
    schedule = Schedule().double()
    held = HeldEnergy(energy, lambda x: FixedEntries(mask, torch.ones(7, 5).double()), schedule)
    whole = torch.where(mask, schedule.signal[k, None], y)
    _, sites = held.sites(held.condition(x, k), y)
    torch.testing.assert_close(sites["o"], energy.output(energy.condition(x, k), whole))


def test_energies_without_sites_say_so() -> None:
    class Bowl(Energy):
        def evaluate(self, context: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
            return y.square().sum(1)

    bowl = Bowl(2, 2)
    with pytest.raises(InputError, match="Bowl has no sites"):
        bowl.sites(bowl.condition(torch.zeros(1, 2), torch.zeros(1).long()), torch.zeros(1, 2))

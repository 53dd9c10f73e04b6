"""Callbacks that remember what training began with, also in a run that goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ired_interp.baselines import FeedForwardModule
from ired_interp.callbacks import EffectiveRank, ThetaSlice
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.report.figures import figures_of_file
from ired_interp.results import open_results

Fit = Callable[..., IREDModule]


def callback(**settings: object) -> EffectiveRank:
    return EffectiveRank(every_n_steps=6, problems=4, landscapes=[0], **settings)


def test_what_training_added_is_counted_from_its_start_which_is_measured_too(
    fit: Fit, tmp_path: Path
) -> None:
    remembering = callback()
    module = fit(remembering, steps=6)
    found = open_results(tmp_path / "run")["effective_rank"]
    assert found["step"].values.tolist() == [0, 6]
    change = found["change_rank"].sel(layer="fc2", measure="participation")
    assert change.isel(step=0).isnull()
    assert change.isel(step=1) > 1
    start = remembering.state_dict()["initial"]["fc2.weight"]
    assert not torch.equal(start, module.energy.get_parameter("fc2.weight"))


def test_a_feed_forward_network_is_measured_while_it_trains(fit: Fit, tmp_path: Path) -> None:
    network = FeedForwardModule(16, 16, width=8, lr=1e-2)
    fit(callback(), steps=6, module=network)
    found = open_results(tmp_path / "run")["effective_rank"]
    rank = found["rank"].sel(of=["solution", "denoised"], measure="participation").isel(landscape=0)
    np.testing.assert_allclose(rank.sel(of="solution"), rank.sel(of="denoised"), rtol=1e-3)
    assert (found["change_rank"].sel(measure="participation").isel(step=-1) > 0).all()
    with pytest.raises(InputError, match="theta_slice measures energies, but FeedForwardModule"):
        ThetaSlice().check(network)


@pytest.mark.process  # trains, draws
def test_a_slice_says_how_much_of_the_training_it_holds(fit: Fit, tmp_path: Path) -> None:
    fit(ThetaSlice(every_n_steps=6, problems=4, grid=3), steps=6)
    found = open_results(tmp_path / "run")["theta_slice"]
    share = found["path_share"]
    assert share.isel(step=0).isnull()
    assert 0 < share.isel(step=1) < 0.5
    (figure,) = figures_of_file(next((tmp_path / "run" / "results" / "theta_slice").glob("*6_*")))
    assert "of the square of the way from the start (chance" in figure.caption


def test_a_run_that_goes_on_counts_from_the_start_in_its_checkpoint(
    fit: Fit, tmp_path: Path
) -> None:
    going_on = callback()
    with torch.random.fork_rng():
        zeros = {n: torch.zeros_like(p) for n, p in fit(steps=1).energy.named_parameters()}
    going_on.load_state_dict({"initial": zeros})
    fit(going_on, steps=1, folder="on")
    found = open_results(tmp_path / "on")["effective_rank"].isel(step=-1)
    np.testing.assert_allclose(found["change_rank"], found["weight_rank"])
    assert callback().state_key == going_on.state_key != callback(seed=1).state_key

"""The training objective against its plain double-backward writing (benchmarks/autograd_ired.py), and the schedule's numbers."""

import pytest
import torch

from autograd_ired import AutogradEnergy, autograd_loss
from conftest import reference_weights
from ired_interp.diffusion import Inference, Noise, Objective, Schedule
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.tasks import Inverse

# √ᾱ, σ and η of the published schedule at K = 10, to the four digits in which they are given
SIGNAL = [0.9859, 0.9480, 0.8871, 0.8047, 0.7027, 0.5838, 0.4507, 0.3067, 0.1552, 0.0049]
NOISE = [0.1671, 0.3183, 0.4616, 0.5937, 0.7114, 0.8119, 0.8927, 0.9518, 0.9879, 1.0000]
STEP = [0.1671, 0.2372, 0.2695, 0.2984, 0.3335, 0.3817, 0.4526, 0.5642, 0.7530, 0.9990]


def test_schedule():
    schedule = Schedule(10)
    for found, expected in (
        (schedule.signal, SIGNAL),
        (schedule.noise, NOISE),
        (schedule.step, STEP),
    ):
        torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=6e-5)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(3)
    plain, ours = AutogradEnergy(6, 5, 16).double(), MLPEnergy(6, 5, 16).double()
    reference_weights(plain)
    plain.double()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(64, 6, generator=generator, dtype=torch.float64)
    y = torch.rand(64, 5, generator=generator, dtype=torch.float64)
    k, eps, contrast = Noise.draw(64, 5, 10, generator)
    return plain, ours, Schedule().double(), x, y, Noise(k, eps.double(), contrast.double())


def test_loss_and_gradients_equal_double_backward(problem):
    plain, ours, schedule, x, y, noise = problem
    expected = autograd_loss(plain, schedule, x, y, noise)
    found = Objective()(ours, schedule, x, y, noise).total
    torch.testing.assert_close(
        found, expected, rtol=1e-10, atol=0
    )  # float64 rounding over two sweeps
    expected.backward()
    found.backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-8, atol=1e-10, msg=name)


def test_contrast_can_be_left_out(problem):
    _, ours, schedule, x, y, noise = problem
    loss, full = (Objective(w)(ours, schedule, x, y, noise) for w in (0.0, 0.5))
    assert loss.total == loss.score == full.score
    assert loss.contrast == 0
    torch.testing.assert_close(full.total, full.score + 0.5 * full.contrast)


def test_errors_can_count_as_errors_of_the_answer_where_noise_is_above_signal(problem):
    """Of a residual energy whose proposal h is constant, the score's error is √ᾱ/σ (y* − h)."""
    *_, schedule, x, y, noise = problem

    class Constant(Energy):
        def condition(self, x, k):
            return schedule.signal[k, None], schedule.noise[k, None]

        def evaluate(self, context, y):
            signal, sigma = context
            return ((y - 0.3 * signal).square() / (2 * sigma)).sum(1)

    energy = Constant(x.shape[1], y.shape[1])
    ratio = schedule.noise_to_signal[noise.k, None]
    for weighting, error in (
        ("noise", (y - 0.3) / ratio),
        ("answer", torch.where(ratio > 1, y - 0.3, (y - 0.3) / ratio)),
    ):
        found = Objective(0.0, weighting=weighting)(
            energy, schedule, x, y, noise, weights_of(weighting, schedule, noise)
        )
        torch.testing.assert_close(found.score, error.square().mean(), rtol=1e-5, atol=0)
    assert (ratio > 1).any()
    assert (ratio < 1).any()


def test_a_module_weighs_landscapes_and_entries_together(problem):
    *_, schedule, x, y, noise = problem

    class Weighed(Inverse):
        def score_weights(self, x, y):
            return 1 + (y > 0).to(y.dtype)

    energy = MLPEnergy(x.shape[1], y.shape[1], 4).double()
    module = IREDModule(energy, Objective(weighting="answer"), task=Weighed(2)).double()
    found = module.weights_of_score(x, y, noise.k)
    expected = schedule.noise_to_signal[noise.k, None].square().clamp(min=1) * (
        1 + (y > 0).double()
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def weights_of(weighting, schedule, noise):
    weights = Objective(weighting=weighting).landscape_weights(schedule)
    return None if weights is None else weights[noise.k, None]


def test_negatives_have_less_energy_than_their_start_and_no_graph(problem):
    _, ours, schedule, x, y, noise = problem
    objective = Objective()
    context = ours.condition(x, noise.k)
    negative = objective.negative(ours, schedule, context, y, noise)
    assert not negative.requires_grad
    signal, sigma = schedule.signal[noise.k, None], schedule.noise[noise.k, None]
    answer = (negative - sigma * noise.contrast_eps) / signal
    assert answer.abs().max() <= 2 + 1e-9
    still = Objective(negative_steps=0).negative(ours, schedule, context, y, noise)
    assert not torch.equal(still, negative)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (Objective, {"contrast_weight": -1}, "contrast_weight=-1"),
        (Objective, {"contrast_weight": float("nan")}, "contrast_weight=nan"),
        (Objective, {"negative_steps": -1}, "negative_steps=-1"),
        (Objective, {"negative_noise": -0.5}, "negative_noise=-0.5"),
        (Objective, {"negative_bound": 0.0}, "negative_bound=0.0"),
        (Objective, {"negatives": "none"}, "negatives is 'none'"),
        (Objective, {"weighting": "snr"}, "weighting is 'snr'"),
        (Inference, {"preset": "best"}, "'best' does not exist"),
        (Inference, {"steps": -1}, "steps is -1"),
        (Inference, {"later_factor": 0.0}, "later_factor is 0.0"),
        (Inference, {"bound": float("nan")}, "bound is nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, settings, words):
    with pytest.raises(InputError, match=words):
        kind(**settings)

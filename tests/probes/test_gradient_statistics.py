"""Gradient statistics against closed forms in y and against every single gradient in theta."""

import numpy as np
import pytest
import torch

from ired_interp.diffusion import Noise
from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import GradientStatisticsTheta, GradientStatisticsY, Snapshot
from ired_interp.probes.gradient_variables import landscape_cosines
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks import Completion
from ired_interp.tasks.base import Problems

SIGMAS = 4.5  # 20 to 30 comparisons of one seed: a true value lies outside with probability 2e-4


def test_energy_gradient_of_a_perfect_model(gaussian: Snapshot) -> None:
    found = GradientStatisticsY()(gaussian)
    for name in ("norm_ratio", "alignment"):
        z = (found[name] - found["theory_ratio"]) / found[f"{name}_error"]
        assert float(abs(z).max()) < SIGMAS
    # Sample eigenvalues of 4000 vectors in 6 dimensions scatter by √(2/4000) and spread by 2√(6/4000) at most.
    np.testing.assert_allclose(
        found["eigenvalues"], found["theory_eigenvalues"], rtol=SIGMAS * np.sqrt(2 / 4000) + 0.08
    )
    assert (
        found["theory_ratio"].values[0] < 0.9
    )  # the truth differs from 1, so the comparison means something


@pytest.mark.process
def test_errors_cover_what_a_perfect_model_shows(gaussian: Snapshot) -> None:
    """In 100 disjoint sets of 40 problems; effective rank: of what so many show on average."""
    parts = [
        GradientStatisticsY(landscapes=[0], seed=i)(
            Snapshot(
                gaussian.module,
                Problems(*(t[i::100] for t in gaussian.batch)),
                gaussian.task,
            )
        )
        for i in range(100)
    ]
    truths = {"norm_ratio": parts[0]["theory_ratio"], "alignment": parts[0]["theory_ratio"]}
    for name in ("norm_mean", "cosine", "participation"):
        truths[name] = np.mean([part[name] for part in parts])
    for name, truth in truths.items():
        inside = [abs(part[name] - truth) < 2 * part[f"{name}_error"] for part in parts]
        assert 0.88 <= np.mean(inside) <= 1, name  # 0.94 ± 0.024: 2.5 standard deviations


def test_where_x_fixes_y_the_gradient_is_the_noise(exact_inverse: Snapshot) -> None:
    found = GradientStatisticsY()(exact_inverse)
    np.testing.assert_allclose(found["cosine"], 1, atol=1e-5)  # float32 gradients
    np.testing.assert_allclose(found["alignment"], found["norm_ratio"], rtol=1e-5)
    np.testing.assert_allclose(found["theory_ratio"], 1)
    np.testing.assert_allclose(found["norm_ratio"], 1, atol=SIGMAS * np.sqrt(2 / (16 * 24)))


class VisibleAlone(Energy):
    """Knows what completion shows, as a perfect model does, and nothing of the hidden entries."""

    def condition(self, x: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        schedule = Schedule()
        return x, schedule.signal[k, None], schedule.noise[k]

    def evaluate(self, context: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        x, signal, noise = context
        return ((y - signal * x).square() * (x != 0)).sum(1) / (2 * noise)


def test_alignment_is_split_into_what_problems_show_and_what_they_hide() -> None:
    """Over visible entries a perfect model has ⟨g, ε⟩ = 1 per entry; nothing known of the hidden ones is 0."""
    task = Completion(6, 2)
    batch = task.sample(200, stream("cpu", 1))
    found = GradientStatisticsY()(Snapshot(IREDModule(VisibleAlone(36, 36)), batch, task))
    assert found["alignment_by_entries"].dims == ("landscape", "entries")
    seen, hidden = (found["alignment_by_entries"].sel(entries=e) for e in ("visible", "hidden"))
    np.testing.assert_allclose(hidden, 0, atol=1e-6)
    z = (seen - 1) / found["alignment_by_entries_error"].sel(entries="visible")
    assert float(abs(z).max()) < SIGMAS
    assert float(found["alignment_by_entries_error"].sel(entries="visible").max()) < 0.05
    np.testing.assert_allclose(found["theory_by_entries"].sel(entries="visible"), 1)
    share = float((batch.x != 0).double().mean())
    np.testing.assert_allclose(found["alignment"], share * seen, rtol=0.02)


def single_gradients(snapshot: Snapshot, k: int, seed: int) -> dict[str, torch.Tensor]:
    """{layer: (B, N_l)} by one ordinary backward pass per problem."""
    module, (x, y) = snapshot.module, snapshot.batch
    eps, contrast = torch.randn(2, *y.shape, generator=stream("cpu", seed, "loss", k))
    rows: dict[str, list[torch.Tensor]] = {}
    for i in range(len(y)):
        noise = Noise(torch.tensor([k]), eps[i : i + 1], contrast[i : i + 1])
        loss = module.objective(
            module.energy, module.schedule, x[i : i + 1], y[i : i + 1], noise
        ).total
        named = dict(module.energy.named_parameters())
        found = torch.autograd.grad(loss, list(named.values()))
        layers: dict[str, list[torch.Tensor]] = {}
        for name, gradient in zip(named, found, strict=True):
            layers.setdefault(name.rpartition(".")[0], []).append(gradient.flatten())
        for layer, parts in layers.items():
            rows.setdefault(layer, []).append(torch.cat(parts))
    return {layer: torch.stack(parts).double() for layer, parts in rows.items()}


@pytest.mark.process
@pytest.mark.parametrize("memory_gib", [1.0, 4e-4], ids=["at once", "in chunks"])
def test_theta_agrees_with_every_single_gradient(network: Snapshot, memory_gib: float) -> None:
    found = GradientStatisticsTheta(landscapes=[0, 6], memory_gib=memory_gib, seed=3)(network)
    for k in (0, 6):
        layers = single_gradients(network, k, 3)
        layers["all"] = torch.cat(list(layers.values()), 1)
        assert set(found["layer"].values) == set(layers)
        for layer, g in layers.items():
            mine = found.sel(landscape=k, layer=layer)
            noise = g.var(0).sum()
            signal = g.mean(0).square().sum() - noise / len(g)
            np.testing.assert_allclose(
                mine["norm"], g.norm(dim=1), rtol=1e-4
            )  # float32 backward passes
            np.testing.assert_allclose(mine["noise"], noise, rtol=1e-3)
            np.testing.assert_allclose(
                mine["signal"], signal, rtol=1e-3, atol=1e-3 * float(noise) / len(g)
            )
            assert int(mine["weights"]) == g.shape[1]


def test_microbatches_estimate_the_noise_of_one_problem(network: Snapshot) -> None:
    """Microbatch gradients are means of the single ones, and their noise is scaled back to one problem."""
    found = GradientStatisticsTheta(landscapes=[4], microbatch=3, seed=3)(network).sel(
        layer="all", landscape=4
    )
    g = torch.cat(list(single_gradients(network, 4, 3).values()), 1).unflatten(0, (4, 3)).mean(1)
    np.testing.assert_allclose(found["norm"], g.norm(dim=1), rtol=1e-4)
    np.testing.assert_allclose(found["noise"], 3 * g.var(0).sum(), rtol=1e-3)


def test_landscape_cosines_are_freed_of_shared_noise() -> None:
    """Two landscapes that pull at 60°, seen through noise that they share problem by problem."""
    rng = torch.Generator().manual_seed(0)
    n, truth = 20_000, 0.5
    directions = torch.zeros(2, n, dtype=torch.float64)
    directions[0, 0] = 1
    directions[1, :2] = torch.tensor([truth, (1 - truth**2) ** 0.5])
    shared = torch.randn(8, n, generator=rng, dtype=torch.float64) * (8 / n) ** 0.5
    found = landscape_cosines(directions[:, None] + shared)
    assert found["landscape_cosine"][0, 1] > 0.7  # shared noise pretends agreement
    error = found["landscape_cosine_corrected_error"][0, 1]
    assert 0.003 < error < 0.03
    assert found["landscape_cosine_corrected"][0, 1] == pytest.approx(truth, abs=4 * error)
    np.testing.assert_allclose(np.diag(found["landscape_cosine_corrected"]), 1)


def test_landscapes_that_share_noise_alone_have_a_cosine_of_0_within_its_error() -> None:
    """200 pairs of unrelated mean gradients; the direct cosine of each is 0.3, all of it noise."""
    rng = torch.Generator().manual_seed(1)
    inside, n = 0, 300
    for _ in range(200):
        means = torch.randn(2, 1, n, generator=rng).double() / n**0.5
        noise = torch.randn(1, 8, n, generator=rng).double() * (8 * 0.44 / n) ** 0.5
        found = landscape_cosines(means + noise)
        value, error = (found[f"landscape_cosine_corrected{part}"][0, 1] for part in ("", "_error"))
        truth = torch.nn.functional.cosine_similarity(means[0, 0], means[1, 0], dim=0)
        inside += abs(value - float(truth)) < 2 * error
    assert 180 <= inside <= 198  # 90 to 99 %


def test_a_mean_gradient_that_is_noise_has_no_cosine() -> None:
    noise = torch.randn(1, 8, 500, generator=torch.Generator().manual_seed(2)).double()
    found = landscape_cosines(torch.cat([noise, noise + 1]))
    assert np.isnan(found["landscape_cosine_corrected"][0, 1])
    assert np.isfinite(found["landscape_cosine_corrected"][1, 1])


def test_complaints(gaussian: Snapshot, network: Snapshot) -> None:
    with pytest.raises(InputError, match="ExactEnergy has none"):
        GradientStatisticsTheta()(gaussian)
    with pytest.raises(InputError, match="point 'z'"):
        GradientStatisticsY(point="z")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="divisor"):
        GradientStatisticsTheta(microbatch=2)(
            Snapshot(network.module, type(network.batch)(*(t[:7] for t in network.batch)))
        )
    next(network.module.energy.parameters()).data.fill_(float("nan"))
    for probe in (GradientStatisticsY(), GradientStatisticsTheta()):
        with pytest.raises(RunError, match="not finite"):
            probe(network)

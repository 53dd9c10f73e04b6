"""Shortest paths: what is drawn, against networkx; floors; the exact energy, against all paths one by one."""

from functools import cache
from itertools import pairwise

import networkx
import numpy as np
import pytest
import torch

from ired_interp.diffusion import Inference
from ired_interp.energy.shortest_path import STEPS
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import GradientStatisticsY, HessianSpectrumY, Snapshot
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy, ShortestPath
from ired_interp.tasks.base import Problems

SMALL = {"n": 9, "p": 0.6, "shortest": 2, "longest": 4, "harder_n": 11}


def draw(task, count=60, variant="same", seed=0):
    return task.sample(count, stream("cpu", seed, "draw"), variant)


def graph_of(x):
    n = round((len(x) / 4) ** 0.5)
    channels = x.view(n, n, 4) > 0
    edges = networkx.from_numpy_array(channels[..., 0].numpy(), create_using=networkx.DiGraph)
    assert torch.equal(channels[..., 0], channels[..., 2])
    start, goal = (int(channels[:, 0, c].float().argmax()) for c in (1, 3))
    assert channels[start, :, 1].all()
    assert channels[goal, :, 3].all()
    assert channels[..., 1].sum() == channels[..., 3].sum() == n
    return edges, start, goal


def all_paths(x):
    """The answers of a problem with their probabilities, one by one."""
    graph, start, goal = graph_of(x)
    away = networkx.single_target_shortest_path_length(graph, goal)
    found, weights = [], []
    for path in networkx.all_shortest_paths(graph, start, goal):
        plan = (path[1:] + [goal] * STEPS)[:STEPS]
        answer = -torch.ones(STEPS, len(graph), dtype=torch.float64)
        answer[range(STEPS), plan] = 1
        choices = [
            sum(away.get(v, 99) == away[u] - 1 for v in graph.successors(u)) for u in path[:-1]
        ]
        found.append(answer.flatten())
        weights.append(1 / np.prod(choices))
    assert sum(weights) == pytest.approx(1)
    return torch.stack(found), torch.tensor(weights)


@pytest.mark.parametrize("variant", ShortestPath.variants)
def test_answers_are_shortest_paths_and_distances_uniform(variant):
    task = ShortestPath(**SMALL)
    x, y = draw(task, 150, variant)
    n = task.nodes(variant)
    lengths = []
    for row, answer in zip(x[:40], y, strict=False):
        graph, start, goal = graph_of(row)
        plan = answer.view(STEPS, n)
        assert torch.equal((plan > 0).sum(1), torch.ones(STEPS, dtype=torch.long))
        walk = [start, *plan.argmax(1).tolist()]
        length = networkx.shortest_path_length(graph, start, goal)
        assert walk[length:] == [goal] * (STEPS + 1 - length)
        assert all(graph.has_edge(*move) for move in pairwise(walk[: length + 1]))
    measures = task.measures(x, y, y)
    lengths = [int(measures[f"whole plan at distance {d}"].whole.sum()) for d in (2, 3, 4)]
    assert sum(lengths) == 150
    assert min(lengths) > 30  # 50 expected, standard deviation 6
    assert measures["whole plan"].part.all()


# Shares of right first moves of a random node, a random neighbour, that with most in-edges and that
# with most out-edges, measured independently: the first two sets on 8500 problems, the others on 1500.
FLOORS = {
    (20, 0.5, 4, 6): (0.080, 0.725, 0.768, 0.920),
    (25, 0.5, 4, 6): (0.070, 0.729, 0.767, 0.926),
    (15, 0.2, 2, 5): (0.073, 0.657, 0.710, 0.761),
    (25, 0.2, 4, 6): (0.048, 0.541, 0.576, 0.689),
}


@pytest.mark.process
@pytest.mark.parametrize("setting", FLOORS)
def test_floors_are_those_measured_independently(setting):
    task, count = ShortestPath(*setting), 2000
    x, y = draw(task, count)
    others = 8500 if setting[1] == 0.5 else 1500
    for (name, plan), expected in zip(task.trivial(x).items(), FLOORS[setting], strict=True):
        first = task.measures(x, y, plan)["first move"].part.float().mean()
        spread = (expected * (1 - expected) * (1 / count + 1 / others)) ** 0.5
        assert abs(float(first) - expected) < 4 * spread, name


@cache
def exact():
    task = ShortestPath(**SMALL)
    x, y = draw(task, 12)
    module = IREDModule(ExactEnergy(task), task=task, value_range=1.0).double()
    return task, module, Problems(x.double(), y.double())


@pytest.mark.parametrize("k", [0, 3, 9])
def test_the_exact_energy_is_the_mixture_over_all_paths(k):
    task, module, (x, y) = exact()
    signal, noise = module.schedule.signal[k], module.schedule.noise[k]
    eps = torch.randn(y.shape, generator=stream("cpu", 1), dtype=torch.float64)
    point = signal * y + noise * eps
    energy, gradient = module.energy_and_gradient(x, point, k)
    hessian = module.energy.hessian(x, point, k)
    mean = task.posterior(x).mean
    several = 0
    for i in range(len(x)):
        paths, weights = all_paths(x[i])
        several += len(paths) > 1
        apart = (point[i] - signal * paths).square().sum(1)
        logits = weights.log() - apart / (2 * noise**2)
        torch.testing.assert_close(energy[i], -noise * logits.logsumexp(0), rtol=1e-6, atol=1e-6)
        share = logits.softmax(0)
        centre = share @ paths
        torch.testing.assert_close(
            gradient[i], (point[i] - signal * centre) / noise, rtol=1e-6, atol=1e-6
        )
        spread = (paths - centre).T @ (share[:, None] * (paths - centre))
        expected = torch.eye(len(centre)) / noise - signal**2 / noise**3 * spread
        torch.testing.assert_close(hessian[i], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mean[i], weights @ paths, rtol=1e-6, atol=1e-6)
    assert several >= 3


def test_probes_see_a_landscape_that_is_not_convex():
    task, module, problems = exact()
    found = HessianSpectrumY(landscapes=[5, 9], dtype="float64", seed=1)(
        Snapshot(module, problems, task)
    )
    hessians = []
    schedule = module.schedule
    for k in (5, 9):
        eps = torch.randn(
            problems.y.shape, generator=stream("cpu", 1, "point", k), dtype=torch.float64
        )
        point = schedule.noised(problems.y, torch.full((12,), k), eps)
        hessians.append(torch.linalg.eigvalsh(module.energy.hessian(problems.x, point, k)))
    np.testing.assert_allclose(found["eigenvalues"], torch.stack(hessians), atol=1e-8)
    assert float(found["lambda_max"].sel(landscape=5)) == pytest.approx(
        float(1 / schedule.noise[5]), rel=1e-5
    )
    assert float(found["lambda_min"].sel(landscape=5)) < 0.9 / float(schedule.noise[5])
    between = schedule.signal[2] * task.posterior(problems.x).mean
    assert torch.linalg.eigvalsh(module.energy.hessian(problems.x, between, 2)).min() < -0.5
    gradients = GradientStatisticsY(landscapes=[9])(Snapshot(module, problems, task))
    assert float(gradients["alignment"][0]) == pytest.approx(1, abs=0.05)


def test_the_perfect_energy_finds_whole_plans_and_the_published_bound_costs_some():
    task = ShortestPath(12, 0.5, 3, 4)
    x, y = draw(task, 100)
    module = IREDModule(ExactEnergy(task), task=task, value_range=1.0).double()
    whole = {}
    for name, settings in {
        "free": Inference("published", final_bound=1.0),
        "published": Inference("published"),
    }.items():
        found = module.solve(x.double(), preset=settings, generator=stream("cpu", 2)).y
        whole[name] = float(task.measures(x, y, found)["whole plan"].part.float().mean())
    assert whole["free"] > 0.95
    assert whole["published"] < whole["free"]


def test_a_rule_that_follows_shortest_paths_reaches_the_goal_in_closed_loop_and_others_may_not():
    task = ShortestPath(**SMALL)
    x, _ = draw(task, 60)

    def perfect(x):
        return task.posterior(x).mean

    def stay(x):
        start = x.view(len(x), 9, 9, 4)[:, :, 0, 1].argmax(1)
        plan = torch.arange(9) == start[:, None, None]
        return plan.expand(-1, STEPS, -1).flatten(1).float()

    assert task.rollout_measures(x, perfect)["closed loop"].part.all()
    assert not task.rollout_measures(x, stay)["closed loop"].part.any()
    jump = task.rollout_measures(x, lambda x: -task.posterior(x).mean)["closed loop"].part
    assert jump.float().mean() < 0.5


def test_the_nearest_answer_is_the_nearest_of_all_paths():
    task, _, (x, y) = exact()
    solution = torch.randn(y.shape, generator=stream("cpu", 3), dtype=torch.float64)
    for i, nearest in enumerate(task.nearest_answer(x, y, solution)):
        paths = all_paths(x[i])[0]
        apart = (solution[i] - paths).square().sum(1)
        assert (solution[i] - nearest).square().sum() == pytest.approx(float(apart.min()))


def test_wrong_answers_leave_every_shortest_path_at_one_step():
    task = ShortestPath(**SMALL)
    problems = draw(task, 200)
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    changed = (wrong != problems.y).view(200, STEPS, -1)
    assert (changed.sum((1, 2)) == 2).all()
    assert changed.any(2).sum(0).min() > 5
    for i in range(40):
        step = int(changed[i].any(1).float().argmax())
        paths = all_paths(problems.x[i])[0].view(-1, STEPS, task.n)
        node = wrong[i].view(STEPS, -1)[step].argmax()
        assert not (paths[:, step].argmax(1) == node).any()
    published = ShortestPath(**SMALL, wrong_answers="published").wrong_answers(
        problems, stream("cpu", 1)
    )
    assert torch.equal(
        published.view(200, STEPS, -1)[:, 1:], problems.y.view(200, STEPS, -1)[:, 1:]
    )


def test_score_weights_are_those_set():
    x, y = draw(ShortestPath(**SMALL), 5)
    assert ShortestPath(**SMALL).score_weights(x, y) is None
    weights = ShortestPath(**SMALL, right_weight=10, other_weight=0.5).score_weights(x, y)
    assert torch.equal(weights, torch.where(y > 0, 10.0, 0.5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"longest": 9}, "distances from 4 to 9 on 20 nodes"),
        ({"right_weight": 0.0}, "right_weight=0.0; it must be positive"),
        ({"wrong_answers": "none"}, "'none'; choose one of corrected"),
        ({"p": 0.0}, "p=0.0; expected a share"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(settings, words):
    with pytest.raises(InputError, match=words):
        ShortestPath(**settings)


def test_distances_that_hardly_occur_and_other_tasks_problems_are_refused_in_a_sentence():
    with pytest.raises(InputError, match="no pair at distance 7 among 8 nodes"):
        draw(ShortestPath(8, 1.0, 7, 7), 3)
    with pytest.raises(InputError, match="problems of 15 entries; expected 4n²"):
        ShortestPath().trivial(torch.ones(2, 15))

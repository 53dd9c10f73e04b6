"""Connectivity: what is drawn, against networkx; its measures, against torchmetrics; its floors; what a perfect energy gives."""

import networkx
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from ired_interp.energy import ConnectivityEnergy
from ired_interp.errors import InputError
from ired_interp.evaluation import trivial_scores
from ired_interp.metrics import Ratio
from ired_interp.module import IREDModule
from ired_interp.probes import GradientStatisticsY, HessianSpectrumY, InferenceTrajectory, Snapshot
from ired_interp.random import stream
from ired_interp.tasks import Connectivity, ExactEnergy, TaskData
from ired_interp.tasks.base import Problems
from ired_interp.tasks.graphs import distances, neighbour_graphs

CPU = torch.device("cpu")


def draw(task, count=60, variant="same", seed=0):
    return task.sample(count, stream("cpu", seed, "draw"), variant)


def test_distances_are_those_of_networkx():
    adjacency = neighbour_graphs(20, 9, 2, stream("cpu", 0))
    assert set(adjacency.sum(2).unique().tolist()) == {1, 2}
    for edges, found in zip(adjacency, distances(adjacency), strict=True):
        graph = networkx.from_numpy_array(edges.numpy(), create_using=networkx.DiGraph)
        expected = torch.full((9, 9), -1)
        for node, lengths in networkx.all_pairs_shortest_path_length(graph):
            for other, length in lengths.items():
                expected[node, other] = length
        assert torch.equal(found, expected)


@pytest.mark.parametrize("variant", Connectivity.variants)
def test_the_answer_of_connectivity_is_that_of_networkx(variant):
    task = Connectivity(8, 0.3, harder_n=11)
    n = task.nodes(variant)
    x, y = draw(task, 20, variant)
    assert x.shape == y.shape == (20, n * n)
    for edges, answer in zip((x > 0).view(-1, n, n), (y > 0).view(-1, n, n), strict=True):
        assert torch.equal(edges, edges.mT)
        assert not edges.diagonal().any()
        for component in networkx.connected_components(networkx.from_numpy_array(edges.numpy())):
            inside = torch.tensor([node in component for node in range(n)])
            assert torch.equal(answer[inside], inside.expand(int(inside.sum()), n))


def test_harder_graphs_keep_p_or_the_degrees():
    task = Connectivity(12, 0.2, harder_n=24)
    degrees = {
        v: (draw(task, 200, v).x > 0).view(200, -1, task.nodes(v)).sum(2).float().mean()
        for v in task.variants
    }
    assert degrees["harder"] > 1.3 * degrees["harder_equal_degree"]
    assert abs(degrees["same"] - degrees["harder_equal_degree"]) < 0.3


# Measured independently over 4000 graphs each, to .005: accuracy, balanced accuracy, whole graphs.
FLOORS = {
    (0.2, "same"): {
        "all connected": (0.632, 0.5, 0.271),
        "edges and diagonal": (0.624, 0.703, 0.001),
        "within 2 edges": (0.760, 0.810, 0.047),
        "within 4 edges": (0.923, 0.939, 0.406),
    },
    (0.2, "harder"): {
        "all connected": (0.766, 0.5, 0.490),
        "within 2 edges": (0.587, 0.730, 0.002),
        "within 4 edges": (0.824, 0.885, 0.099),
    },
    (0.5, "same"): {"all connected": (0.997, 0.5, 0.993), "within 4 edges": (0.998, 0.999, 0.956)},
}


@pytest.mark.process
@pytest.mark.parametrize(("p", "variant"), FLOORS)
def test_floors_are_those_measured_independently(p, variant):
    found = trivial_scores(TaskData(Connectivity(12, p)), "test", variant, 1000, CPU)
    for name, expected in FLOORS[p, variant].items():
        for measure, value in zip(
            ("accuracy", "balanced accuracy", "whole graphs"), expected, strict=True
        ):
            measured, error = found[name].measures[measure]
            assert abs(measured - value) < 4 * error + 0.005, (name, measure, measured, error)


def test_measures_are_shares_of_right_entries():
    task = Connectivity(7, 0.3)
    x, y = draw(task, 40)
    noise = torch.randn(y.shape, generator=stream("cpu", 1))
    solution = y + noise
    found = {}
    for name, measure in task.measures(x, y, solution).items():
        ratio = Ratio(measure.part[:1].numel())
        for rows in (slice(0, 15), slice(15, 40)):
            ratio.update(measure.part[rows], measure.whole[rows])
        found[name] = float(ratio.compute()[0])
    predicted, true = ((t >= 0).long().flatten() for t in (solution, y))
    for name, average in (("accuracy", "micro"), ("balanced accuracy", "macro")):
        expected = multiclass_accuracy(predicted, true, num_classes=2, average=average)
        assert found[name] == pytest.approx(float(expected), abs=1e-6)
    whole = (predicted == true).view(40, -1).all(1).float().mean()
    assert found["whole graphs"] == pytest.approx(float(whole))
    for measure in task.measures(x, y, y).values():
        assert torch.equal(measure.part, measure.whole)


def test_the_standard_error_of_a_ratio_is_that_of_the_bootstrap():
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(1, 9, (400, 2), generator=generator)
    part = (whole * torch.rand(400, 2, generator=generator)).round()
    ratio = Ratio(2)
    ratio.update(part, whole)
    value, error = ratio.compute()
    rows = torch.randint(400, (2000, 400), generator=generator)
    again = (part[rows].sum(1) / whole[rows].sum(1)).mean(1)
    assert float(value) == pytest.approx(float((part.sum(0) / whole.sum(0)).mean()))
    assert float(error) == pytest.approx(float(again.std()), rel=0.1)
    nothing = Ratio(1)
    nothing.update(torch.zeros(3), torch.zeros(3))
    assert nothing.compute()[0].isnan()


def test_corrected_wrong_answers_are_symmetric_never_right_and_wrong_both_ways():
    task = Connectivity(12, 0.2)
    problems = draw(task, 300)
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    changed = (wrong != problems.y).view(-1, 12, 12)
    assert torch.equal(changed, changed.mT)
    assert not changed.diagonal(dim1=1, dim2=2).any()
    assert changed.any(2).any(1).all()
    assert (wrong.abs() == 1).all()
    for sign in (1, -1):
        assert ((problems.y == sign) & changed.flatten(1)).sum() > 100
    assert abs(changed.float().mean() * 12 / 11 - 0.05) < 0.005


def test_published_wrong_answers_forget_connections_alone():
    task = Connectivity(12, 0.2, wrong_answers="published")
    problems = draw(task, 2000)
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    assert (wrong <= problems.y).all()
    diagonal = (wrong.view(-1, 12, 12).diagonal(dim1=1, dim2=2) < 0).any(1).float().mean()
    assert abs(diagonal - (1 - 0.95**12)) < 0.04  # told apart at a glance
    assert (
        abs((wrong == problems.y).all(1).float().mean() - 0.028) < 0.015
    )  # no wrong answer at all


@pytest.fixture(scope="module")
def exact():
    task = Connectivity(5, 0.3, harder_n=7)
    x, y = draw(task, 6)
    module = IREDModule(ExactEnergy(task), task=task, value_range=1.0).double()
    return Snapshot(module, Problems(x.double(), y.double()), task)


def test_probes_of_the_exact_energy_agree_with_the_closed_form(exact):
    """One answer: the Hessian is I/σ_k, ‖∇E‖² = n² on average and a step contracts by 1 − η_k/σ_k."""
    schedule, x, y = exact.module.schedule, *exact.batch
    found = HessianSpectrumY(dtype="float64")(exact)
    expected = (1 / schedule.noise).numpy()[:, None, None]
    np.testing.assert_allclose(found["eigenvalues"], np.broadcast_to(expected, (10, 6, 25)), 1e-5)
    gradients = GradientStatisticsY()(exact)
    np.testing.assert_allclose(gradients["alignment"], gradients["norm_ratio"], rtol=1e-5)
    np.testing.assert_allclose(gradients["theory_ratio"], 1, rtol=1e-5)
    settings = IREDModule(exact.module.energy, inference=exact.module.inference).double()
    trajectory = InferenceTrajectory(steps=2)(Snapshot(settings, exact.batch, exact.task))
    factor = 1 - schedule.step / schedule.noise
    assert trajectory["theory_contraction"].sel(landscape=4).values == pytest.approx(
        float(factor[4]), rel=1e-5
    )
    assert torch.equal(exact.module.solve(x).y.sign(), y)


def test_an_energy_trained_on_one_size_solves_another(exact):
    module = IREDModule(ConnectivityEnergy(25, 25), task=exact.task, value_range=1.0)
    x, y = draw(exact.task, 3, "harder")
    found = module.solve(x, generator=stream("cpu", 0))
    assert found.y.shape == y.shape == (3, 49)
    assert found.y.abs().max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Connectivity(1), "n=1; a graph needs at least 2 nodes"),
        (lambda: Connectivity(5, 1.5), "p=1.5; expected a share of the nodes"),
        (lambda: Connectivity(wrong_answers="random"), "'random'; choose one of corrected"),
        (lambda: TaskData(Connectivity(), train="dug"), "'dug' does not exist; task connectivity"),
        (
            lambda: IREDModule(ConnectivityEnergy()).solve(torch.ones(2, 15)),
            r"x has shape \(2, 15\), but ConnectivityEnergy takes graphs",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, words):
    with pytest.raises(InputError, match=words):
        make()

"""Classes are known by their names, and no two by the same."""

import pytest

from ired_interp.baselines import DiffusionModule, FeedForwardModule
from ired_interp.energy import (
    CandidateEnergy,
    ConnectivityEnergy,
    Energy,
    MatrixEnergy,
    MLPEnergy,
    ResidualMLPEnergy,
    ShortestPathEnergy,
    SudokuEnergy,
)
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, Probe
from ired_interp.registry import Registered
from ired_interp.solver import SolverModule
from ired_interp.tasks import (
    Addition,
    Completion,
    Connectivity,
    ExactEnergy,
    Inverse,
    LinearGaussian,
    ShortestPath,
    Sudoku,
    Task,
    TwoAnswers,
)


def ours(contract: type[Registered]) -> dict[str, type]:
    """Without the classes of other tests."""
    known = contract.registry.items()
    return {name: kind for name, kind in known if kind.__module__.startswith("ired_interp.")}


def test_each_contract_knows_its_own_classes() -> None:
    assert ours(Energy) == {
        "mlp": MLPEnergy,
        "residual_mlp": ResidualMLPEnergy,
        "matrix": MatrixEnergy,
        "exact": ExactEnergy,
        "connectivity": ConnectivityEnergy,
        "shortest_path": ShortestPathEnergy,
        "sudoku": SudokuEnergy,
        "sudoku_candidates": CandidateEnergy,
    }
    assert ours(Task) == {
        "addition": Addition,
        "completion": Completion,
        "inverse": Inverse,
        "linear_gaussian": LinearGaussian,
        "two_answers": TwoAnswers,
        "connectivity": Connectivity,
        "shortest_path": ShortestPath,
        "sudoku": Sudoku,
    }
    assert ours(SolverModule) == {
        "ired": IREDModule,
        "diffusion": DiffusionModule,
        "feed_forward": FeedForwardModule,
    }
    assert Probe.named("hessian_spectrum") is Probe.named("hessian_spectrum_y") is HessianSpectrumY


def test_a_class_is_known_when_it_states_a_name_of_its_own() -> None:
    class Nameless(Inverse): ...

    class Named(Inverse):
        name = "named"

    assert Task.named("named") is Named
    assert Nameless not in Task.registry.values()


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"task 'parity' does not exist; there are .*inverse"):
        Task.named("parity")


def test_two_classes_cannot_have_one_name() -> None:
    with pytest.raises(InputError, match=r"Second and .*Inverse both have the name 'inverse'"):

        class Second(Task):
            name = "inverse"

    assert Task.named("inverse") is Inverse


def test_a_class_that_is_defined_again_takes_its_former_place() -> None:
    def define() -> type[Task]:
        class Again(Inverse):
            name = "again"

        return Again

    first, second = define(), define()
    assert first is not second
    assert Task.named("again") is second

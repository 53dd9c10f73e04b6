"""One call for any module, against the float64 Hessian of its loss; pictures; the diagonal."""

from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from ired_interp import spectra
from ired_interp.errors import InputError
from ired_interp.spectra import MatrixOperator, diagonal
from spectra_cases import dense_hessian, matrix

matplotlib.use("Agg")


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


X, Y = draw(20, 4), torch.arange(20) % 3


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Classifier(LightningModule):
    """As in a tutorial: dropout, batch norm, logs, a metric, a list of outputs, random draws."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3)
        ).double()
        self.seen, self.outputs, self.noise = MeanMetric(), [], noise

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        loss = F.cross_entropy(self.net(x + self.noise * torch.randn_like(x)), y)
        self.seen(loss.detach())
        self.outputs.append(loss)
        self.log("loss", loss, on_step=True, prog_bar=True)
        self.log_dict({"also": self.seen})
        return {"loss": loss}


def loss_of(model: Classifier) -> Callable[[], Tensor]:
    return lambda: F.cross_entropy(model.net(X), Y)


@pytest.mark.filterwarnings("error")
def test_a_lightning_module_is_measured_by_its_training_step_and_left_as_it_was() -> None:
    model = Classifier()
    model.seen.update(7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    found = spectra.hessian(model, loader).eigenvalues(4, "LA", 1e-10).eigenvalues
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(part.training for part in model.modules())
    assert not {"log", "log_dict"} & set(vars(model))
    assert model.outputs == []
    assert float(model.seen.compute()) == 7.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    expected = dense_hessian(loss_of(model.eval()), list(model.parameters()))
    torch.testing.assert_close(found, torch.linalg.eigvalsh(expected).flip(0)[:4])


def test_a_loss_that_draws_noise_is_one_function() -> None:
    model = Classifier(noise=0.5)
    operator = spectra.hessian(model, [(X, Y)]).operator
    operator.check()
    matrix = operator.dense()
    assert not torch.allclose(matrix, spectra.hessian(Classifier(), [(X, Y)]).operator.dense())
    torch.testing.assert_close(matrix, spectra.hessian(model, [(X, Y)]).operator.dense())


class Labelled(nn.Module):
    """As Hugging Face models: takes named arguments, gives an output with a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
        logits = self.head(x)
        return SimpleNamespace(
            loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits
        )


@pytest.mark.parametrize(
    ("loader", "loss"),
    [
        ([{"x": X[:8], "labels": Y[:8]}, {"x": X[8:], "labels": Y[8:]}], None),
        ([UserDict(x=X, labels=Y)], None),
        ([(X, Y)], lambda output, target: F.cross_entropy(output.logits, target)),
        ([[X, Y]], lambda output, target: F.cross_entropy(output.logits, target)),
        ([(X, Y, 0)], lambda model, batch: F.cross_entropy(model(batch[0]).logits, batch[1])),
        ([{"a": X, "b": Y}], lambda model, batch: F.cross_entropy(model.head(batch["a"]), Y)),
    ],
    ids=["named", "mapping", "pair", "collated pair", "triple", "dict"],
)
def test_other_modules_give_a_loss_with_their_output_or_take_one(loader: Any, loss: Any) -> None:
    model = Labelled()
    expected = dense_hessian(lambda: F.cross_entropy(model.head(X), Y), list(model.parameters()))
    found = spectra.hessian(model, loader, loss).operator.dense()
    torch.testing.assert_close(found, expected)


def test_so_many_batches_are_taken_from_the_first() -> None:
    model, loader = nn.Linear(4, 3).double(), DataLoader(TensorDataset(X, Y), batch_size=6)
    for batches, rows in ((2, 12), (8, 20), (None, 20)):
        found = spectra.hessian(model, loader, F.cross_entropy, batches).operator.dense()
        expected = dense_hessian(
            lambda rows=rows: F.cross_entropy(model(X[:rows]), Y[:rows]), list(model.parameters())
        )
        torch.testing.assert_close(found, expected)


def test_every_answer_is_right_and_computed_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    H = spectra.hessian(model, [(X, Y)], F.cross_entropy)
    expected = dense_hessian(lambda: F.cross_entropy(model(X), Y), list(model.parameters()))
    values = torch.linalg.eigvalsh(expected)
    trace = H.trace(80)
    assert trace.low <= float(values.sum()) <= trace.high
    density = H.density(10, 20)
    assert abs(density.moment(1).value - float(values.mean())) < 4 * density.moment(1).error
    entries = H.diagonal(20)
    within = (entries.values - expected.diagonal()).abs() <= 3 * entries.errors
    assert within.double().mean() > 0.9
    assert list(H.operator.unflatten(entries.values)) == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]
    H.eigenvalues(3)
    spent = H.operator.matvecs
    assert H.density(10, 20) is density
    assert H.diagonal(20) is entries
    assert H.eigenvalues(3) is H.eigenvalues(3)
    assert H.operator.matvecs == spent


class Nothing(Classifier):
    def training_step(self, batch: Any) -> None:
        return None


class Asking(Classifier):
    def training_step(self, batch: Any) -> Tensor:
        return self.net(batch[0]).sum() * self.trainer.global_step


def optimised_by_hand() -> Classifier:
    model = Classifier()
    model.automatic_optimization = False
    return model


@pytest.mark.parametrize(
    ("model", "loader", "options", "words"),
    [
        (nn.Linear(4, 3).double(), [(X, Y)], {}, "Linear has no training_step.*give loss="),
        (Labelled(), [{"x": X}], {}, "the output of Labelled has no loss.*give loss="),
        (optimised_by_hand(), [(X, Y)], {}, "optimises by hand.*give loss="),
        (Nothing(), [(X, Y)], {}, "returned a NoneType; expected a loss"),
        (Asking(), [(X, Y)], {}, "asks for its trainer.*give loss="),
        (Labelled(), (X, Y), {}, r"loader is a tuple of tensors, like one batch; .* \[batch\]"),
        (Labelled(), {"x": X}, {}, r"loader is one dict"),
        (Labelled(), iter([(X, Y)]), {}, "loader is a list_iterator"),
        (Labelled(), [(X, Y)], {"batches": 0}, "batches is 0"),
    ],
)
def test_what_has_no_loss_is_refused_with_what_to_give(
    model: nn.Module, loader: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        spectra.hessian(model, loader, **options).operator.check()


# ---- the diagonal


def test_the_diagonal_is_unbiased_and_its_errors_are_true() -> None:
    a = matrix(list(np.linspace(-2, 5, 30)))
    runs = [diagonal(MatrixOperator(a), 25, seed=seed, progress=False) for seed in range(200)]
    deviations = torch.stack([run.values for run in runs]) - a.diagonal()
    exact = (((a**2).sum(1) - a.diagonal() ** 2) / 25).sqrt()
    assert float((deviations.mean(0) / exact).abs().max()) * 200**0.5 < 4
    said = torch.stack([run.errors for run in runs]).square().mean(0).sqrt()
    torch.testing.assert_close(said, exact, rtol=0.05, atol=0)
    torch.testing.assert_close(deviations.std(0), exact, rtol=0.2, atol=0)


def test_the_diagonal_is_exact_with_as_many_products_as_rows() -> None:
    a = matrix([3.0, 2.0, -1.0, 0.5])
    found = diagonal(MatrixOperator(a), 100, progress=False)
    torch.testing.assert_close(found.values, a.diagonal())
    assert (found.matvecs, float(found.errors.max())) == (4, 0)
    with pytest.raises(InputError, match="at least 2"):
        diagonal(MatrixOperator(a), 1)


# ---- pictures


@pytest.mark.process
def test_spectra_and_densities_draw_themselves() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    H = spectra.hessian(model, [(X, Y)], F.cross_entropy)
    one, two, three = Figure().subplots(3)
    density, spectrum = H.density(), H.eigenvalues(10)
    assert density.plot(one) is one
    np.testing.assert_array_equal(one.lines[0].get_xdata(), density.grid)
    top = density.values.argmax()
    assert one.lines[0].get_ydata()[top] == density.values[top]
    assert (one.get_xlabel(), one.get_yscale()) == ("eigenvalue", "log")
    object.__setattr__(spectrum, "converged", torch.arange(10) != 4)
    spectrum.plot(two)
    drawn = {x: y for line in two.lines for x, y in zip(*line.get_data(), strict=True)}
    np.testing.assert_array_equal([drawn[rank] for rank in range(1, 11)], spectrum.eigenvalues)
    hollow = [line.get_xdata() for line in two.lines if line.get_markerfacecolor() == "none"]
    assert [list(ranks) for ranks in hollow] == [[5]]
    H.plot(three)
    np.testing.assert_array_equal(three.lines[1].get_xdata(), spectrum.eigenvalues)
    three.figure.canvas.draw()

"""Lanczos on matrices with known eigenvalues: every end, both dtypes, multiplicities, restarts,
budgets, kills."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.spectra import (
    FunctionOperator,
    HessianOperator,
    MatrixOperator,
    SpectrumWarning,
    lanczos,
    plan_lanczos,
    residual_norms,
)
from spectra_cases import SPECTRA, case, dense_hessian, matrix

pytestmark = pytest.mark.filterwarnings("ignore::ired_interp.spectra.SpectrumWarning")


def expected(eigenvalues: list[float], which: str, k: int) -> np.ndarray:
    """The k wanted eigenvalues in the documented order."""
    descending = np.sort(eigenvalues)[::-1]
    k = min(k, len(descending))
    if which == "BE":
        return np.concatenate([descending[: (k + 1) // 2], descending[len(descending) - k // 2 :]])
    if which == "LM":
        return descending[np.argsort(-np.abs(descending), kind="stable")][:k]
    return descending[:k] if which == "LA" else descending[::-1][:k]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
@pytest.mark.parametrize("which", ["LA", "SA", "BE", "LM"])
@pytest.mark.parametrize("name", list(SPECTRA))
def test_known_spectra(
    name: str, which: str, dtype: torch.dtype, tol: float, restart: bool
) -> None:
    values = SPECTRA[name]
    operator = MatrixOperator(matrix(values, dtype))
    memory = (
        36 * len(values) * dtype.itemsize if restart else None
    )  # 30 basis vectors and 6 of work
    found = lanczos(operator, 8, which, tol, memory=memory, progress=False)
    wanted = tol * found.eigenvalues.abs().numpy()
    assert (found.converged.numpy() == (found.residuals.numpy() <= wanted)).all()
    resolvable = wanted > 20 * torch.finfo(dtype).eps * np.abs(values).max()
    # The loss of orthogonality that is let be can hold a residual in float32 above what was asked.
    assert found.converged.numpy()[resolvable].all() or "rounding in float32" in found.notes[0]
    assert found.matvecs <= 60 or (found.restarts > 0) == restart
    # Vectors V with values Λ have as many eigenvalues within √2‖AV − VΛ‖/σ_min(V) of them (Kahan).
    exact, vectors = operator.matrix.double(), found.eigenvectors.double()
    remainder = exact @ vectors - vectors * found.eigenvalues
    truth = expected(torch.linalg.eigvalsh(exact).tolist(), which, 8)
    reach = 2**0.5 * torch.linalg.norm(remainder) / torch.linalg.svdvals(vectors)[-1]
    rounding = len(values) * torch.finfo(torch.float64).eps * np.abs(values).max()  # of the truth
    assert np.abs(found.eigenvalues.numpy() - truth).max() <= float(reach) + rounding
    # A residual that is twice what is reported is measured one by one; a random sum of all pairs,
    # by which that is found, is shorter than half their length in 4 % of cases.
    assert float(torch.linalg.norm(remainder)) <= 4 * float(found.residuals.norm())
    if resolvable.all():
        assert float(torch.linalg.norm(remainder)) <= 4 * np.linalg.norm(wanted)
    gram = (found.eigenvectors.T @ found.eigenvectors).double()
    # Loss of orthogonality that is let be: sqrt(eps) in the basis, as one random sum measures it.
    assert float((gram - torch.eye(len(truth))).abs().max()) < 15 * torch.finfo(dtype).eps ** 0.5


@pytest.mark.parametrize("objective", ["square", "score"])
def test_network_hessian(objective: str) -> None:
    c = case("mlp", objective)
    operator = HessianOperator(lambda: c.objective(c.data), c.parameters)
    truth = torch.linalg.eigvalsh(
        dense_hessian(lambda: c.objective(c.data), list(c.parameters.values()))
    )
    found = lanczos(operator, 6, "BE", 1e-6, progress=False)
    np.testing.assert_allclose(
        found.eigenvalues, torch.cat([truth[-3:].flip(0), truth[:3].flip(0)]), rtol=0, atol=1e-6
    )
    assert found.matvecs == operator.matvecs


def test_no_ghosts_of_a_dominant_eigenvalue() -> None:
    values = [1e3, 900.0, *np.linspace(0, 1, 498)]
    found = lanczos(MatrixOperator(matrix(values, torch.float32)), 12, "LA", 1e-3, progress=False)
    np.testing.assert_allclose(found.eigenvalues[:2], [1e3, 900.0], rtol=1e-5)
    # The bulk ends at 1, known to some roundings of the largest eigenvalue; a ghost lies near that.
    assert float(found.eigenvalues[2]) < 1 + 20 * torch.finfo(torch.float32).eps * 1e3


def test_unresolved_cluster_warns() -> None:
    values = [5.001, 5.0, 4.999, *np.linspace(0, 4.5, 297)]
    with pytest.warns(SpectrumWarning, match="closer together than their residuals"):
        lanczos(MatrixOperator(matrix(values)), 3, "LA", 1e-2, progress=False)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [({"max_matvecs": 15}, "product budget"), ({"max_seconds": 0.0}, "time budget")],
)
def test_budgets_say_what_is_unfinished(budget: dict, reason: str) -> None:
    with pytest.warns(SpectrumWarning, match="did not converge"):
        found = lanczos(
            MatrixOperator(matrix(SPECTRA["even"])), 5, "LA", 1e-8, progress=False, **budget
        )
    assert found.stopped == reason
    assert not found.converged.all()
    assert (found.converged == (found.residuals <= 1e-8 * found.eigenvalues.abs())).all()


def test_rounding_is_not_called_convergence() -> None:
    rough = matrix([*np.linspace(1, 2, 99), 50.0])
    noise = 1e-4 * matrix(list(np.linspace(-1, 1, 100))).triu(
        1
    )  # an unsymmetric operator: the Lanczos relation is wrong
    operator = FunctionOperator(lambda v: rough @ v + noise @ v, 100, torch.float64)
    with pytest.warns(SpectrumWarning):
        found = lanczos(operator, 3, "LA", 1e-9, progress=False, max_matvecs=300)
    truth = residual_norms(operator, found.eigenvalues, found.eigenvectors)
    assert not found.converged.all()
    assert (truth <= 1.1 * found.residuals).all()


def test_residuals_are_checked_against_the_operator() -> None:
    a = matrix(SPECTRA["even"])
    needed = lanczos(MatrixOperator(a), 3, "LA", 1e-6, progress=False).matvecs
    operator = FunctionOperator(
        lambda v: a @ v + (0.1 * v if operator.matvecs >= needed else 0), 300, torch.float64
    )
    found = lanczos(operator, 3, "LA", 1e-6, progress=False)  # the last, the check, meets A + 0.1
    np.testing.assert_allclose(found.residuals, 0.1, rtol=1e-3)
    assert found.stopped == "rounding"
    assert not found.converged.any()


def test_start_vector_is_used() -> None:
    a = matrix(SPECTRA["even"])
    top = torch.linalg.eigh(a).eigenvectors[:, -1]
    found = lanczos(MatrixOperator(a), 1, "LA", 1e-8, start=top, progress=False)
    assert found.converged.all()
    assert 3 * found.matvecs < lanczos(MatrixOperator(a), 1, "LA", 1e-8, progress=False).matvecs
    # A start that is another eigenvector does not pass for the largest.
    second = torch.linalg.eigh(a).eigenvectors[:, -60]
    missed = lanczos(MatrixOperator(a), 1, "LA", 1e-8, start=second, progress=False)
    assert float(missed.eigenvalues[0]) == pytest.approx(5, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"which": "XX"}, "expected 'LA'"),
        ({"tol": 1e-20}, "use float64"),
        ({"k": 0}, "at least 1"),
        ({"memory": "1KB"}, "raise memory"),
    ],
)
def test_bad_arguments(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        lanczos(MatrixOperator(matrix(SPECTRA["even"])), **arguments)


def test_plan_restarts_moves_or_refuses() -> None:
    cpu, vector = torch.device("cpu"), 4_000_000
    assert plan_lanczos(10**6, torch.float32, cpu, 20, memory=400 * vector).capacity == 394
    assert "restarted" in plan_lanczos(10**6, torch.float32, cpu, 20, memory=60 * vector).sentence
    gpu = torch.device("cuda")
    # Without a limit: half a GiB on a CPU, 5k or 100 vectors; a GPU sweeps fast.
    assert plan_lanczos(10**6, torch.float32, cpu, 10).capacity == 2**29 // vector
    assert plan_lanczos(10**7, torch.float32, cpu, 30, available=lambda _: 2**40).capacity == 150
    assert plan_lanczos(10**7, torch.float32, cpu, 3, available=lambda _: 2**40).capacity == 100
    roomy = plan_lanczos(10**6, torch.float32, gpu, 10, available=lambda _: 2**40)
    assert roomy.capacity > 10**5
    moved = plan_lanczos(
        10**6, torch.float32, gpu, 20, memory=20 * vector
    )  # too little there, enough on the host
    assert moved.storage == cpu
    with pytest.raises(InputError, match="raise memory, ask for fewer"):
        plan_lanczos(10**6, torch.float32, gpu, 20, memory=20 * vector, storage="cuda")


_KILLED_RUN = """
import os, signal, sys, numpy as np, torch
from ired_interp.spectra import FunctionOperator, lanczos
from spectra_cases import matrix
a = matrix(list(np.linspace(-3, 5, 300)))
def product(v):
    if operator.matvecs == 90:
        os.kill(os.getpid(), signal.SIGKILL)
    return a @ v
operator = FunctionOperator(product, 300, torch.float64)
folder, memory = sys.argv[1], int(sys.argv[2])
lanczos(operator, 8, "LA", 1e-8, checkpoint=folder, save_every=0, progress=False, memory=memory)
"""


@pytest.mark.parametrize(("before", "after"), [(400, 33), (400, 41), (36, 400)])
def test_a_run_goes_on_with_another_limit_of_memory(
    tmp_path: Path, before: int, after: int
) -> None:
    operator = MatrixOperator(matrix(SPECTRA["even"]))
    folder, vector = tmp_path / "run", 300 * 8
    lanczos(operator, 8, "LA", 1e-8, checkpoint=folder, memory=before * vector, max_matvecs=90)
    rest = lanczos(operator, 8, "LA", 1e-8, checkpoint=folder, memory=after * vector)
    assert rest.converged.all()
    np.testing.assert_allclose(rest.eigenvalues, sorted(SPECTRA["even"])[:-9:-1], rtol=1e-8)


@pytest.mark.process
@pytest.mark.parametrize("vectors", [36, 400])
def test_killed_run_continues(tmp_path: Path, vectors: int) -> None:
    folder, memory = tmp_path / "run", vectors * 300 * 8
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    )
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_RUN, str(folder), str(memory)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    newest = max(folder.glob("basis-*.bin"), key=lambda file: int(file.stem.removeprefix("basis-")))
    assert (newest.stem in ("basis-0", "basis-1")) == (vectors == 400)  # the other has restarted
    with open(newest, "ab") as file:
        file.write(b"a kill while rows were being written")
    a, made = matrix(SPECTRA["even"]), [0]

    def product(v: torch.Tensor) -> torch.Tensor:
        made[-1] += 1
        return a @ v

    operator = FunctionOperator(product, 300, torch.float64)
    whole = lanczos(operator, 8, "LA", 1e-8, memory=memory, progress=False)
    made.append(0)
    rest = lanczos(operator, 8, "LA", 1e-8, memory=memory, progress=False, checkpoint=folder)
    assert made[1] < made[0] - 60
    assert rest.converged.all()
    np.testing.assert_array_equal(rest.eigenvalues, whole.eigenvalues)
    made.append(0)
    again = lanczos(operator, 8, "LA", 1e-8, memory=memory, progress=False, checkpoint=folder)
    assert made[2] < 12  # a finished run is only checked
    assert rest.matvecs == again.matvecs == whole.matvecs
    other = MatrixOperator(matrix(list(np.linspace(-2, 5, 300))))
    with pytest.raises(InputError, match="belongs to another objective"):
        lanczos(other, 8, "LA", 1e-8, checkpoint=folder)

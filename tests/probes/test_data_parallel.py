"""Two real processes, started with the variables of torchrun or of srun, against one: the same files with the same numbers."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from ired_interp.errors import InputError
from ired_interp.probes import HessianSpectrumTheta, Snapshot
from ired_interp.ranks import ALONE, Ranks, process_group
from ired_interp.spectra import HessianOperator
from two_tasks import PROGRAM, results, srun, torchrun, two

pytestmark = pytest.mark.process

Ired = Callable[..., tuple[int, str, str]]

SHORT = {
    "landscapes": [0, 5],
    "eigenpairs": 4,
    "density_probes": 2,
    "density_steps": 8,
    "trace_matvecs": 8,
}
# Sums over problems are taken in another order. In float64 the iterations amplify the roundings to about 1e-11 of
# the largest value.
DOUBLE = 1e-8


def assert_equal(found: dict[str, xr.Dataset], expected: dict[str, xr.Dataset]) -> None:
    """Equal file names, so equal settings; equal variables up to rounding.

    In float32 Lanczos ends with other Ritz vectors on another order of summation, and what it says of them differs at
    will within the tolerance it was given; eigenvalues differ by no more than the two residuals that bound their errors
    and √N ≈ 200 roundings of the largest.
    """
    assert found.keys() == expected.keys()
    for file, one in expected.items():
        other = found[file]
        assert other.attrs == one.attrs
        assert other.variables.keys() == one.variables.keys()
        if '"float32"' in one.attrs["settings"]:
            rounding = 200 * np.finfo(np.float32).eps * float(abs(one["eigenvalues"]).max())
            bound = rounding + one.get("residuals", 0) + other.get("residuals", 0)
            assert bool((abs(other["eigenvalues"] - one["eigenvalues"]) <= bound).all()), file
            continue
        for name, variable in one.variables.items():
            if variable.dtype.kind == "f":
                # A residual is a difference of products, and rounds as the eigenvalues do.
                scale = one["eigenvalues"] if name == "residuals" else variable
                atol = DOUBLE * np.abs(scale.values).max()
                np.testing.assert_allclose(
                    other[name].values, variable.values, rtol=0, atol=atol, err_msg=name
                )
            else:
                np.testing.assert_array_equal(other[name].values, variable.values, err_msg=name)


def test_two_tasks_of_torchrun_measure_what_one_process_does(
    ired: Ired, tiny_run: Path, tmp_path: Path
) -> None:
    """Seven problems, which two tasks cannot share evenly; chunks so small that each task has several."""
    spectra = [
        ("Y", {"landscapes": [0, 5], "dtype": "float64", "point": "solution"}),
        ("Y", {"landscapes": [5]}),
        ("Theta", {"dtype": "float64", "objective": "loss", "memory_gib": 0.02, **SHORT}),
        ("Theta", {**SHORT, "landscapes": "mixed"}),
    ]
    probes = [{"class_path": f"HessianSpectrum{of}", "init_args": one} for of, one in spectra]
    Path("probes.yaml").write_text(
        yaml.safe_dump({"probes": [*probes, {"class_path": "GradientStatisticsY"}]})
    )
    arguments = ["probe", "--ckpt", tiny_run, "--config", "probes.yaml", "--problems", 7]
    code, out, err = ired(*arguments, "--output", "one")
    assert code == 0, err
    first, second = two(torchrun, tmp_path, *arguments, "--output", "two")
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert len(first[1].splitlines()) == len(out.splitlines())
    assert second[1:] == ("", "")
    expected = results(tmp_path / "one")
    assert len(expected) == 5
    assert_equal(results(tmp_path / "two"), expected)
    assert not list((tmp_path / "two").rglob(".*"))  # nothing kept for going on is left


def test_two_tasks_of_srun_with_one_problem(ired: Ired, tiny_run: Path, tmp_path: Path) -> None:
    settings = [
        ("Y", {"dtype": "float64", "landscapes": [3]}),
        ("Theta", {"dtype": "float64", **SHORT}),
    ]
    probes = [{"class_path": f"HessianSpectrum{of}", "init_args": one} for of, one in settings]
    Path("probes.yaml").write_text(yaml.safe_dump({"probes": probes}))
    arguments = ["probe", "--ckpt", tiny_run, "--config", "probes.yaml", "--problems", 1]
    assert ired(*arguments, "--output", "one")[0] == 0
    ended = two(srun, tmp_path, *arguments, "--output", "two")
    assert [code for code, *_ in ended] == [0, 0], ended
    assert_equal(results(tmp_path / "two"), results(tmp_path / "one"))


# The second task finds its Hessians in y not finite, and runs out of memory at its fifth product in θ.
FAILING = (
    """
import os, torch
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.energy import MLPEnergy
if os.environ["RANK"] == "1":
    hessian, apply, calls = MLPEnergy.hessian, HessianOperator._apply, iter(range(1000))
    def no_memory(self, graph, parts):
        if next(calls) > 4:
            raise MemoryError("the second task has none left")
        return apply(self, graph, parts)
    MLPEnergy.hessian = lambda *arguments: hessian(*arguments) * float("nan")
    HessianOperator._apply = no_memory
"""
    + PROGRAM
)


def test_what_one_task_meets_is_no_result_and_does_not_hang(
    ired: Ired, tiny_run: Path, tmp_path: Path
) -> None:
    probes = [
        {"class_path": "HessianSpectrumY", "init_args": {"landscapes": SHORT["landscapes"]}},
        {"class_path": "HessianSpectrumTheta", "init_args": SHORT},
    ]
    Path("probes.yaml").write_text(yaml.safe_dump({"probes": probes}))
    arguments = [
        "probe",
        "--ckpt",
        tiny_run,
        "--config",
        "probes.yaml",
        "--problems",
        4,
        "--output",
        "two",
    ]
    first, second = two(torchrun, tmp_path, *arguments, program=FAILING)
    assert first[0] == 1
    assert second[0] != 0
    assert "not finite" in first[2]
    assert "lost another one" in first[2]
    assert "the second task has none left" in second[2]
    (file,) = results(tmp_path / "two").items()
    assert file[0].startswith("hessian_spectrum_y")
    assert "not finite" in file[1].attrs["failed"]


# One of the tasks is asked to stop at its twelfth product in θ.
ASKED = (
    """
import os, signal
from ired_interp.spectra.hessian import HessianOperator
if os.environ["RANK"] == "1":
    apply, calls = HessianOperator._apply, iter(range(1000))
    def asked(self, graph, parts):
        if next(calls) == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return apply(self, graph, parts)
    HessianOperator._apply = asked
"""
    + PROGRAM
)
# Each says at its end how many products it has made.
COUNTED = (
    """
import atexit, sys
from ired_interp.spectra.hessian import HessianOperator
apply, made = HessianOperator._apply, []
def counted(self, graph, parts):
    made.append(1)
    return apply(self, graph, parts)
HessianOperator._apply = counted
atexit.register(lambda: print("products:", len(made), file=sys.stderr))
"""
    + PROGRAM
)


def test_a_signal_to_one_task_stops_both_at_one_product_and_they_go_on_from_it(
    ired: Ired, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dtype": "float64", **SHORT}
    probes = [{"class_path": "HessianSpectrumTheta", "init_args": settings}]
    Path("probes.yaml").write_text(yaml.safe_dump({"probes": probes}))
    arguments = ["probe", "--ckpt", tiny_run, "--config", "probes.yaml", "--problems", 4]
    apply, made = HessianOperator._apply, []
    with monkeypatch.context() as patch:
        patch.setattr(
            HessianOperator,
            "_apply",
            lambda self, graph, parts: (made.append(1), apply(self, graph, parts))[1],
        )
        assert ired(*arguments, "--output", "one")[0] == 0
    ended = two(torchrun, tmp_path, *arguments, "--output", "two", program=ASKED)
    assert [code for code, *_ in ended] == [128 + signal.SIGTERM] * 2, ended
    assert not results(tmp_path / "two")
    ended = two(torchrun, tmp_path, *arguments, "--output", "two", program=COUNTED)
    assert [code for code, *_ in ended] == [0, 0], ended
    for *_, err in ended:
        (products,) = (int(line.split()[1]) for line in err.splitlines() if "products:" in line)
        assert products + 5 < len(made), "Lanczos goes on, it does not begin anew"
    found, expected = results(tmp_path / "two"), results(tmp_path / "one")
    assert found.keys() == expected.keys()
    (found, expected) = (*found.values(), *expected.values())
    scale = float(abs(expected["eigenvalues"]).max())
    np.testing.assert_allclose(
        found["eigenvalues"], expected["eigenvalues"], rtol=0, atol=DOUBLE * scale
    )


def test_a_refusal_is_said_once(ired: Ired, tiny_run: Path, tmp_path: Path) -> None:
    """By a probe that the first task measures alone, while the second waits."""
    probe = {"class_path": "GradientStatisticsY", "init_args": {"landscapes": [99]}}
    Path("probes.yaml").write_text(yaml.safe_dump({"probes": [probe]}))
    first, second = two(torchrun, tmp_path, "probe", "--ckpt", tiny_run, "--config", "probes.yaml")
    assert (first[0], second) == (2, (2, "", ""))
    assert "landscapes [99] were asked for" in first[2]


@pytest.mark.parametrize("spread", [["--trainer.devices", 2, "--trainer.strategy", "ddp"], []])
def test_two_tasks_of_srun_evaluate_as_one_process_does(
    ired: Ired, tiny_run: Path, tmp_path: Path, spread: list[object]
) -> None:
    """Shared out, or each alone.

    61 problems; errors are sums in double over float32 answers to the same problems, of which a batch has half as many rows.
    """
    arguments = ["test", "--ckpt", tiny_run, "--data.test_problems", 61]
    code, out, err = ired(*arguments)
    assert code == 0, err
    expected = results(tiny_run / "results")
    for path in (tiny_run / "results").rglob("*.nc"):
        path.unlink()
    first, second = two(srun, tmp_path, *arguments, *spread)
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert len(first[1].splitlines()) == len(out.splitlines())
    assert second[1:] == ("", "")
    found = results(tiny_run / "results")
    assert found.keys() == expected.keys()
    for file, one in expected.items():
        assert found[file].attrs == one.attrs
        xr.testing.assert_allclose(found[file], one, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},  # a batch script, which is no step
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"},
        {
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": "0",
            "SLURM_STEP_ID": "0",
            "SLURM_JOB_NAME": "interactive",
        },
        {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1", "RANK": "0"},
    ],
)
def test_a_process_that_nothing_started_as_one_of_several_is_alone(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in {"SLURM_NTASKS_PER_NODE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with process_group() as ranks:
        assert ranks == ALONE


def test_tasks_without_a_number_per_node_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "SLURM_STEP_ID"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(InputError, match="--ntasks-per-node"), process_group():
        pass


@pytest.mark.parametrize("total", [0, 1, 5, 6, 7])
def test_shares_are_contiguous_and_the_first_task_has_most(total: int) -> None:
    shares = [Ranks(rank, 3).share(total) for rank in range(3)]
    assert [row for share in shares for row in range(total)[share]] == list(range(total))
    sizes = [share.stop - share.start for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def test_pyhessian_is_refused_with_several_tasks(network: Snapshot) -> None:
    with pytest.raises(InputError, match="runs in one process, but there are 2 tasks"):
        HessianSpectrumTheta(backend="pyhessian", which="LM")(replace(network, ranks=Ranks(0, 2)))

"""`ired probe` and `ired test` as two processes that share out the problems, as torchrun starts them, against one process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from conftest import ROOT, Ired
from ired_interp.results import Run, read_result

# Sums over problems are taken in another order: rounding of the arithmetic, amplified by the iterations.
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}
PROBES = """
probes:
  - {class_path: HessianSpectrum, init_args: {landscapes: [0, 7], dtype: float64}}
  - class_path: HessianSpectrum
    init_args: {space: theta, landscapes: mixed, dtype: float64, eigenpairs: 4, density_probes: 2, density_steps: 12, trace_matvecs: 12}
  - {class_path: InferenceTrajectory, init_args: {}}
"""


def together(
    *arguments: object, count: int = 2, cwd: Path, setting: dict[str, str] | None = None
) -> list[tuple[int, str, str]]:
    """Run the program as several processes of one command: (exit code, stdout, stderr) of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **(setting or {})}
    program = str(Path(sys.executable).with_name("ired"))
    processes = [
        subprocess.Popen(
            [program, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def assert_close(found: xr.Dataset, wanted: xr.Dataset, tolerance: float) -> None:
    assert set(found.variables) == set(wanted.variables)
    assert found.attrs["settings"] == wanted.attrs["settings"], "the record does not tell how many processes there were"
    for name in wanted.data_vars:
        if name in ("matvecs", "notes") or wanted[name].dtype.kind in "OUb":
            continue
        values = wanted[name].values
        # Residuals are rounding themselves: they are bounded by the tolerance asked for, not reproduced.
        scale = abs(wanted["eigenvalues"].values).max() if name == "residuals" else abs(values).max()
        loosened = 1e-3 if name == "residuals" else tolerance
        np.testing.assert_allclose(found[name].values, values, rtol=0, atol=loosened * max(scale, 1e-12), err_msg=name)


@pytest.mark.parametrize("problems", [5, 1], ids=["uneven", "fewer than ranks"])
def test_two_processes_measure_what_one_does(ired: Ired, tiny_run: Path, tmp_path: Path, problems: int):
    (tmp_path / "probes.yaml").write_text(PROBES)
    arguments = ["probe", "--ckpt", tiny_run, "--config", "probes.yaml", "--problems", problems]
    code, _, err = ired(*arguments)
    assert code == 0, err
    files = sorted(Run(tiny_run).result_files())
    one = {file: read_result(file) for file in files}
    for file in files:
        file.unlink()
    (first, out, err), (second, silent, nothing) = together(*arguments, cwd=tmp_path)
    assert (first, second) == (0, 0), err + nothing
    assert sorted(Run(tiny_run).result_files()) == files, "the same files, whatever the number of processes"
    assert out.count("Hessian of") == 2
    assert silent == ""
    for file in files:
        exact = "hessian_spectrum" in str(file)
        assert_close(read_result(file), one[file], TOLERANCE["float64" if exact else "float32"])


def test_two_processes_have_the_test_error_of_one(ired: Ired, tiny_run: Path, tmp_path: Path):
    code, _, err = ired("test", "--ckpt", tiny_run)
    assert code == 0, err
    (file,) = Run(tiny_run).result_files()
    one = read_result(file)
    file.unlink()
    share = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]
    (first, out, err), (second, silent, nothing) = together("test", "--ckpt", tiny_run, *share, cwd=tmp_path)
    assert (first, second) == (0, 0), err + nothing
    assert "error" in out
    assert silent == ""
    (found,) = Run(tiny_run).result_files()
    for name in ("error", "standard_error", "floor"):
        np.testing.assert_allclose(read_result(found)[name].values, one[name].values, rtol=1e-5, err_msg=name)


def test_a_failure_of_one_process_ends_all(ired: Ired, tiny_run: Path, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('RANK') == '1':\n    import torch\n    real = torch.linalg.eigvalsh\n"
        "    def fail(*a, **k):\n        raise MemoryError('planted')\n    torch.linalg.eigvalsh = fail\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), str(ROOT / "src"))))
    (first, _, err), (second, _, nothing) = together(
        "probe", "--ckpt", tiny_run, "--problems", 4, cwd=tmp_path, setting={"PYTHONPATH": path}
    )
    assert second == 1
    assert "planted" in nothing
    assert first == 1
    assert "lost another one" in err
    assert not Run(tiny_run).result_files(), "nothing is written that only one of them measured"


def test_pyhessian_runs_alone(ired: Ired, tiny_run: Path, tmp_path: Path):
    (tmp_path / "probes.yaml").write_text(
        "probes:\n  - {class_path: HessianSpectrum, init_args: {space: theta, backend: pyhessian, landscapes: [0]}}\n"
    )
    (first, _, err), (second, _, nothing) = together(
        "probe", "--ckpt", tiny_run, "--config", "probes.yaml", cwd=tmp_path
    )
    assert (first, second) == (2, 2)
    assert "runs in one process, but there are 2 tasks" in err
    assert nothing == ""

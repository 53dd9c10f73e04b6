"""A result reaches every logger of a Trainer under the same names."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from lightning.pytorch.loggers import CSVLogger

from ired_interp.loggers import RunMetrics, publish
from ired_interp.loggers.publish import distributions, scalars
from ired_interp.results import Run, failed_result
from runs import spectrum


def test_scalars_are_named_by_result_variable_and_landscape() -> None:
    found = scalars("hessian_spectrum_y", spectrum(500, 0))
    assert found["hessian_spectrum_y/lambda_max/k3"] == pytest.approx(4 * 1.2 * 1.2)
    assert (
        len(found) == 10 * 6
    )  # by landscape: λ min, median, max, negative share, theory, deviation
    assert not any("eigenvalues" in name for name in found)


def test_of_layers_the_one_of_all_weights_counts_and_what_is_not_finite_does_not() -> None:
    values = np.array([[1.0, 2.0], [np.nan, 4.0]])
    result = xr.Dataset(
        {"noise": (("landscape", "layer"), values), "total": 5.0},
        {"landscape": [0, 7], "layer": ["all", "fc1"]},
    )
    assert scalars("g", result) == {"g/noise/k0": 1.0, "g/total": 5.0}


def test_distributions_hold_all_values_of_a_landscape() -> None:
    result = spectrum(500, 0).isel(problem=[0, 1, 2, 3, 0, 1, 2, 3]).drop_vars("problem")
    found = distributions("h", result)
    assert sorted(found) == [f"h/eigenvalues/k{k}" for k in range(10)]
    np.testing.assert_allclose(
        np.sort(found["h/eigenvalues/k2"]), np.sort(result["eigenvalues"].values[2].ravel())
    )


def test_a_csv_logger_gets_them_and_the_runs_own_record_does_not(tmp_path: Path) -> None:
    other, own = CSVLogger(tmp_path / "csv"), RunMetrics(Run(tmp_path / "run"))
    publish([own, other], "h", spectrum(500, 0), 500, tmp_path / "x.nc")
    for logger in (own, other):
        logger.save()
    text = Path(other.log_dir, "metrics.csv").read_text()
    assert "h/lambda_max/k3" in text.splitlines()[0]
    assert (
        ",500," in text
        or text.splitlines()[1].endswith(",500")
        or "500" in text.splitlines()[1].split(",")
    )
    assert not Path(own.log_dir, "metrics.csv").exists()


def test_a_failed_result_is_not_published(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    publish([logger], "h", failed_result("out of memory"), 1, tmp_path / "x.nc")
    assert logger.experiment.metrics == []


def test_a_logger_that_fails_is_named_and_does_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(CSVLogger):
        def log_metrics(self, *arguments: object) -> None:  # type: ignore[override]
            raise OSError("disk full")

    working = CSVLogger(tmp_path / "b")
    publish([Broken(tmp_path / "a"), working], "h", spectrum(500, 0), 500, tmp_path / "x.nc")
    assert "Broken did not take h of step 500 (OSError: disk full)" in capsys.readouterr().err
    assert len(working.experiment.metrics) == 1

"""The benchmark of coverage in small: every interval holds its planted truth about as often as it
says."""

import numpy as np
import pytest

import coverage_of_intervals as benchmark

DRAWS = 40


@pytest.mark.parametrize("case", ["test_error", "gradients_theta", "noise_scale", "bands", "trace"])
def test_intervals_hold_planted_truths(case: str) -> None:
    for row in benchmark.CASES[case](DRAWS):
        assert row.told == 1
        # 0.9 less 3.4 standard deviations of 40 draws; the seeds are fixed.
        assert np.mean(row.inside) >= 0.74, row.line

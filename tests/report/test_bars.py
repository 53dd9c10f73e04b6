"""What is known of an estimate is drawn: its error, one end of an interval, and no empty panel."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Canvas

from ired_interp.report.collect import Group
from ired_interp.report.figures.gradients_theta import _one_run
from ired_interp.report.figures.lines import matrix, with_bars
from ired_interp.report.figures.subspace_drift import _matrices


def spans(axes, side: int) -> list[tuple[float, float]]:
    """From where to where lines reach that stand upright (side 1) or lie (side 0)."""
    lines = [part for found in axes.collections for part in found.get_segments()]
    return sorted((round(p[0][side], 9), round(p[-1][side], 9)) for p in lines if len(p) > 1)


@pytest.mark.parametrize("across", [False, True])
def test_a_bar_without_upper_end_keeps_its_lower_part(across: bool) -> None:
    axes = Canvas().add_subplot()
    value, place = np.array([2.0, 5.0]), np.array([0.0, 1.0])
    bars = np.array([[0.5, 3.0], [1.0, np.inf]])
    x, y = (value, place) if across else (place, value)
    with_bars(axes, x, y, bars, across=across, color="k")
    found = spans(axes, 0 if across else 1)
    assert (1.5, 3.0) in found
    assert (2.0, 5.0) in found


def test_errors_are_drawn_over_training_and_a_lower_end_where_no_more_is_told() -> None:
    result = xr.Dataset(
        {
            "norm_mean": ("step", [1.0, 2.0]),
            "norm_mean_error": ("step", [0.1, 0.2]),
            "noise_scale": ("step", [np.inf, 30.0]),
            "noise_scale_low": ("step", [7.0, 20.0]),
            "noise_scale_high": ("step", [np.inf, 90.0]),
        },
        {"step": [10, 20]},
    )
    norm, scale = (Canvas().add_subplot() for _ in range(2))
    _one_run(norm, Group(0, [], {}), result, "norm_mean")
    assert spans(norm, 1) == [(0.8, 1.2), (1.6, 2.4)]
    ends = _one_run(scale, Group(0, [], {}), result, "noise_scale")
    assert (20.0, 90.0) in spans(scale, 1)
    marks = {
        tuple(p) for line in scale.lines for p in line.get_xydata() if line.get_marker() != "_"
    }
    assert (10.0, 7.0) in marks  # the arrow's
    assert 7.0 in np.concatenate(ends)


def test_a_matrix_names_its_frames_evenly() -> None:
    for count in (4, 6, 7, 30):
        axes = Canvas().add_subplot()
        matrix(axes, np.zeros((count, count)), np.arange(count) * 100, 0, 1, "step")
        places = axes.get_xticks()
        assert len(set(np.diff(places))) == 1
        assert count > 6 or len(places) == count


def test_landscapes_that_tell_nothing_have_no_matrix() -> None:
    overlap = np.ones((3, 4, 4))
    overlap[0] = np.nan
    overlap[2][~np.eye(4, dtype=bool)] = np.nan  # each frame with itself alone
    result = xr.Dataset(
        {"overlap": (("landscape", "frame", "other"), overlap), "label": ("frame", range(4))},
        {"landscape": [0, 5, 9]},
    )
    group = Group(0, [], {})
    assert [name for name, _ in _matrices([(group, [result])], True)] == [", k = 5"]
    assert _matrices([(group, [result.isel(landscape=[0])])], True) == []

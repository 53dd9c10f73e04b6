"""What the page names at the pointer."""

import numpy as np
from matplotlib.figure import Figure

from ired_interp.report.marks import panel_marks


def test_a_bar_without_a_finite_end_has_no_reach_and_others_keep_theirs() -> None:
    axes = Figure().subplots()
    axes.errorbar([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], yerr=[0.5, np.nan, 0.0], label="gap")
    points = panel_marks(axes)["points"]
    texts = [" ".join(map(str, point[3:])) for point in points]
    assert len(points) == 3
    assert "(0.5 to 1.5)" in texts[0]
    assert not any("to" in text for text in texts[1:])


def test_a_short_bar_without_a_finite_place_has_no_name() -> None:
    axes = Figure().subplots()
    axes.hlines([1.0, np.nan], [0.0, 0.0], [1.0, 1.0], label="exact")
    axes.vlines([np.inf, 2.0], [0.0, 0.0], [1.0, np.nan], label="ends")
    points = panel_marks(axes)["points"]
    assert [point[0] for point in points] != []
    assert len(points) == 1

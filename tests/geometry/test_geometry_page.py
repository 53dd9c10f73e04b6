import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "geometry.md"


def test_the_examples_run_and_give_what_the_page_says():
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(first, names)
    geometry, u, v = names["geometry"], names["U"], names["V"]
    assert geometry.principal_angles(u, v).tolist() == pytest.approx([0.1] * 5, abs=0.01)
    assert geometry.grassmann_distance(u, v).item() == pytest.approx(0.23, abs=0.005)
    assert geometry.overlap(u, v).item() == pytest.approx(0.99, abs=0.005)
    assert geometry.chance_band(1000, 5, 5) == pytest.approx(
        (0.005, 0.0014, 0.0026, 0.0081), abs=1e-4
    )
    exec(second, names)
    assert names["drift"].path_length[-1] > 0
    assert names["mean"].residual < 1e-9
    assert names["again"].labels == [0, 100, 200]

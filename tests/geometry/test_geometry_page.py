import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "geometry.md"


def test_the_examples_of_the_page_run_and_give_what_they_say():
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)  # the page's own code
    geometry, u, v = names["geometry"], names["U"], names["V"]
    assert geometry.overlap(*first_planes(geometry)).item() == pytest.approx(0.99, abs=0.005)
    assert u.shape == v.shape
    assert names["drift"].path_length[-1] > 0
    assert names["again"].labels == [0, 100, 200]


def first_planes(geometry):
    import torch

    rng = torch.Generator().manual_seed(0)
    u = torch.randn(1000, 5, generator=rng)
    return u, u + 0.1 * torch.randn(1000, 5, generator=rng)

import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import CountSketch, chance_band, grassmann_distance, overlap

PINNED = [
    2.0,
    14.0,
    1.0,
    -44.0,
    34.0,
    5.0,
    0.0,
]  # another value would break comparisons with stored sketches


def test_sketch_is_the_stated_linear_map(normal):
    sketch = CountSketch(50, seed=3)
    matrix = sketch(torch.eye(5000))
    assert torch.equal(
        matrix.abs().sum(0), torch.ones(5000, dtype=torch.float64)
    )  # one ±1 a column
    signs, counts = matrix.sum(0), matrix.abs().sum(1)
    assert abs(signs.sum()) < 4 * 5000**0.5
    assert counts.min() > 100 - 4 * 100**0.5
    assert counts.max() < 100 + 4 * 100**0.5
    basis = normal(5000, 3)
    torch.testing.assert_close(sketch(basis), matrix @ basis, rtol=0, atol=1e-11)


def test_pinned_to_its_seed():
    sketch = CountSketch(7, seed=1)(torch.arange(1.0, 21.0)[:, None])[:, 0]
    assert torch.equal(
        sketch, CountSketch(7, seed=1)(torch.arange(1.0, 21.0).half()[:, None])[:, 0]
    )
    assert sketch.tolist() == PINNED
    assert not torch.equal(sketch, CountSketch(7, seed=2)(torch.arange(1.0, 21.0)[:, None])[:, 0])


def test_distances_survive_to_a_few_per_cent(planes):
    u, v = planes(50_000, [0.02, 0.03, 0.4, 1.2])
    sketch = CountSketch(5000)
    for metric in ("geodesic", "asimov"):
        ratio = grassmann_distance(sketch(u), sketch(v), metric) / grassmann_distance(u, v, metric)
        assert ratio.item() == pytest.approx(1, abs=0.04)  # 1/√5000 = 1.4 %


def test_chance_level_is_that_of_the_sketch(normal):
    sketch = CountSketch(500)
    values = torch.stack(
        [overlap(sketch(normal(4000, 5)), sketch(normal(4000, 5))) for _ in range(150)]
    )
    band = chance_band(sketch.ambient(4000), 5, 5)
    # 150 draws of a relative scatter of 0.28: a standard error of 2.3 %; the uncorrected level p/500 is 11 % lower
    assert values.mean().item() == pytest.approx(band.mean, rel=0.07)
    assert ((band.low < values) & (values < band.high)).double().mean() > 0.88


def test_too_short_bases_are_refused(normal):
    with pytest.raises(InputError, match="sketched to 500"):
        CountSketch(500)(normal(100, 2))

import math

import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import Subspace, principal_angles


@pytest.mark.parametrize(
    ("dtype", "floor"), [(torch.float16, 2.1e-4), (torch.float32, 2.6e-8), (torch.float64, 1e-15)]
)
@pytest.mark.parametrize("n", [200, 20_000])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_floor_is_the_angle_to_what_was_given(normal, dtype, floor, n, batch):
    basis = normal(*batch, n, 4) @ normal(*batch, 4, 4)
    subspace = Subspace.from_basis(basis, dtype)
    found = principal_angles(subspace.basis(), basis)
    torch.testing.assert_close(subspace.rounding, found, rtol=1e-2, atol=1e-12)  # first order
    assert subspace.rounding.max() < 1.5 * floor


def test_file_round_trip(tmp_path, normal):
    subspace = Subspace.from_basis(normal(9000, 3))
    opened = subspace.save(tmp_path / "deep" / "a.npy")
    assert torch.equal(opened.stored(), subspace.stored())
    assert torch.equal(opened.stored(slice(8000, 8500)), subspace.stored()[8000:8500])
    assert (opened.shape, opened.dtype) == (subspace.shape, subspace.dtype)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.npy"]


def test_bases_of_low_precision_and_large_entries_are_stored(normal):
    for basis in (normal(1000, 200).bfloat16(), normal(50, 3) * 1e170):
        stored = Subspace.from_basis(basis, torch.float32)
        assert (
            principal_angles(stored.basis(), basis.double() / basis.double().abs().max()).max()
            < 1e-5
        )


def test_interrupted_write_leaves_the_old_file(tmp_path, normal, monkeypatch):
    path = tmp_path / "a.npy"
    first = Subspace.from_basis(normal(50, 2))
    first.save(path)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        Subspace.from_basis(normal(50, 2)).save(path)
    assert torch.equal(Subspace.open(path, first.rounding).stored(), first.stored())


@pytest.mark.parametrize(
    ("basis", "dtype", "says"),
    [
        (torch.eye(4)[:, :2], torch.bfloat16, "bfloat16"),
        (torch.ones(4, 2), torch.float16, "spans only 1"),
        (torch.full((4, 1), math.inf), torch.float16, "infinite"),
        (torch.ones(2, 3, 4, 2), torch.float16, "one subspace"),
    ],
)
def test_refusals(basis, dtype, says):
    with pytest.raises(InputError, match=says):
        Subspace.from_basis(basis, dtype)


def test_missing_or_foreign_file_is_named(tmp_path):
    (tmp_path / "foreign.npy").write_text("not an array")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cube.npy").read_bytes()[:-8])
    for name in ("absent.npy", "foreign.npy", "cube.npy", "cut.npy"):
        with pytest.raises(InputError, match=name):
            Subspace.open(tmp_path / name, torch.zeros(1))

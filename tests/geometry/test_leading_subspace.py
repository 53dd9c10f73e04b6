import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import leading_subspace, principal_angles


def test_equals_the_singular_vectors(tmp_path, normal):
    vectors = normal(12, 20_000) * torch.logspace(0, 3, 12).double()[:, None]
    basis, singular = leading_subspace(vectors, 4)
    _, truth, right = torch.linalg.svd(vectors, full_matrices=False)
    # Eigenvalues of the Gram matrix, the squares, are exact to roundings of the largest of them.
    limit = len(truth) * torch.finfo(torch.float64).eps * truth[0] ** 2 / truth
    assert ((singular - truth).abs() <= limit).all()
    assert principal_angles(basis, right[:4].mT).max() < 1e-12
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12
    )
    np.save(tmp_path / "vectors.npy", vectors.numpy().astype(np.float32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert principal_angles(leading_subspace(mapped, 4)[0], basis).max() < 1e-6


def test_more_vectors_than_dimensions_are_decomposed_alike(normal):
    few = normal(6, 40)
    basis, singular = leading_subspace(few.mT, 2)  # 40 vectors in R^6
    left, truth, _ = torch.linalg.svd(few, full_matrices=False)
    torch.testing.assert_close(singular, truth)
    assert principal_angles(basis, left[:, :2]).max() < 1e-12


def test_entries_of_any_size_byte_order_and_layout_are_taken(normal):
    vectors = normal(5, 30)
    expected, singular = leading_subspace(vectors, 2)
    for given, scale in (
        (vectors * 1e170, 1e170),
        (vectors.numpy().astype(">f8"), 1.0),
        (np.asfortranarray(vectors.numpy())[:, ::-1][:, ::-1], 1.0),
    ):
        basis, found = leading_subspace(given, 2)
        assert principal_angles(basis, expected).max() < 1e-12
        torch.testing.assert_close(found, singular * scale)
    with pytest.raises(InputError, match="object entries"):
        leading_subspace(vectors.numpy().astype(object), 2)


@pytest.mark.parametrize(
    ("change", "p", "says"),
    [
        (lambda x: x, 5, "p from 1 to B"),
        (lambda x: x[0], 1, "p from 1 to B"),
        (lambda x: x[:1].expand(4, -1), 2, "spans only 1"),
        (lambda x: (x[:, :1] * x[:1]).float(), 2, "spans only 1"),
        (lambda x: (x[:, :1] * x[:1]).float().mT, 2, "spans only 1"),
        (lambda x: x / 0, 1, "NaN"),
    ],
)
def test_refusals(normal, change, p, says):
    with pytest.raises(InputError, match=says):
        leading_subspace(change(normal(4, 50)), p)

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


@pytest.mark.parametrize(
    ("change", "p", "says"),
    [
        (lambda x: x, 5, "p from 1 to B"),
        (lambda x: x[0], 1, "p from 1 to B"),
        (lambda x: x[:1].expand(4, -1), 2, "span 1"),
        (lambda x: x / 0, 1, "NaN"),
    ],
)
def test_refusals(normal, change, p, says):
    with pytest.raises(InputError, match=says):
        leading_subspace(change(normal(4, 50)), p)

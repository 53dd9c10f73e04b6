"""Planes of directions in which an answer can change, as sets of orthonormal coordinates."""

from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.geometry.resolution import check_rank as check_numerical_rank
from ired_interp.probes.base import Snapshot
from ired_interp.probes.rank_manifold import check_rank, known_rank, square_matrices
from ired_interp.tasks.posterior import Posterior

RANDOM = "random"
TANGENT, NORMAL = "tangent", "normal"


class Frame(NamedTuple):
    """Orthonormal coordinates of y, one frame a problem, and planes spanned by some of them.

    Attributes
    ----------
    planes : dict of str to Tensor (B, d_y)
        By family: 1 for coordinates that span its plane, else 0; float64.
    left, right : Tensor (B, p, p), (B, q, q), optional
        Orthogonal L and R with p q = d_y: y as a p × q matrix has the coordinates LᵀYR. Without
        them these are the entries of y.
    """

    planes: dict[str, Tensor]
    left: Tensor | None = None
    right: Tensor | None = None

    def into(self, z: Tensor) -> Tensor:
        """Return the coordinates of m vectors a problem, columns of z (B, d_y, m)."""
        if self.left is None or self.right is None:
            return z
        (count, d, m), p, q = z.shape, self.left.shape[-1], self.right.shape[-1]
        turned = (self.left.mT @ z.reshape(count, p, q * m)).view(count, p, q, m)
        coordinates: Tensor = self.right.mT[:, None] @ turned
        return coordinates.view(count, d, m)

    def out(self, z: Tensor) -> Tensor:
        """Return the vectors of coordinates (..., B, d_y)."""
        if self.left is None or self.right is None:
            return z
        sides = self.left.shape[-1], self.right.shape[-1]
        vectors: Tensor = self.left @ z.unflatten(-1, sides) @ self.right.mT
        return vectors.flatten(-2)

    def of(self, rows: slice) -> "Frame":
        """Return the frames of some problems."""
        planes = {name: plane[rows] for name, plane in self.planes.items()}
        sides = (None if side is None else side[rows] for side in (self.left, self.right))
        return Frame(planes, *sides)

    def matrix(self, hessian: Tensor) -> Tensor:
        """Express symmetric matrices (B, d_y, d_y) in the coordinates."""
        return self.into(self.into(hessian).mT)


def frames(snapshot: Snapshot, rank: int | None) -> list[Frame]:
    """Find the planes that a task's answers have.

    Parameters
    ----------
    snapshot : Snapshot
        Problems x (B, d_x), answers y (B, d_y), and the task that they come from.
    rank : int, optional
        r of the answers as n × n matrices Y = UΣVᵀ; that of the task where it is known if None.

    Returns
    -------
    list of Frame
        With the following planes, where there are such.

        =================== ========================================================================
        family              directions D
        =================== ========================================================================
        `random`            every direction; where problems give entries of y, of the others
        `visible`, `hidden` entries that x shows or not (`Task.visible`)
        `column`, `row`     U⊥AVᵀ and UAV⊥ᵀ: turn the column or the row space
        `core`              UAVᵀ: change neither
        `tangent`           the three together: stay on the manifold of rank-r matrices
        `normal`            U⊥AV⊥ᵀ: leave it
        `eigenvalues`       q_i q_iᵀ, with eigenvectors q of x and y* (`Task.eigenvectors`), where
                            none are given: change eigenvalues of y*
        `eigenvectors`      q_i q_jᵀ of different ones: turn its eigenvectors
        `large`, `small`    q_i q_jᵀ, both in the half of its largest or smallest eigenvalues
        `support`, `kernel` eigenvectors of a Gaussian posterior's covariance with variance, or none
        =================== ========================================================================

    Raises
    ------
    InputError
        If the answers have not the rank.
    """
    module, (x, y) = snapshot.module, snapshot.batch
    fixed, visible = module.fixed(x), snapshot.visible()
    every = torch.ones_like(y, dtype=torch.float64)
    entries = {RANDOM: every if fixed is None else (~fixed.mask).double()}
    if visible is not None:
        entries |= {"visible": visible.double(), "hidden": (~visible).double()}
    found = [Frame(entries)]
    if (r := known_rank(snapshot.task, rank)) is not None:
        found.append(rank_frame(y, r))
    vectors = snapshot.task.eigenvectors(x.double()) if snapshot.task else None
    if vectors is not None and fixed is None and vectors.shape[-1] > 1:
        found.append(_eigenframe(vectors))
    posterior = snapshot.task.posterior(x[:1]) if snapshot.task else None
    if isinstance(posterior, Posterior):
        varies = posterior.variances > 0
        if varies.any() and not varies.all():
            basis = posterior.basis.double()
            planes = {"support": varies * every, "kernel": ~varies * every}
            found.append(Frame(planes, every.new_ones(len(y), 1, 1), basis.expand(len(y), -1, -1)))
    return found


def _eigenframe(vectors: Tensor) -> Frame:
    """Find the planes of eigenvectors (B, n, n), those of large eigenvalues first."""
    count, _, n = vectors.shape
    same = torch.eye(n, dtype=torch.float64, device=vectors.device)
    large = (torch.arange(n, device=vectors.device) < n // 2).double()
    blocks = {
        "eigenvalues": same,
        "eigenvectors": 1 - same,
        "large": large[:, None] * large,
        "small": (1 - large)[:, None] * (1 - large),
    }
    planes = {name: block.flatten().expand(count, -1) for name, block in blocks.items()}
    return Frame(planes, vectors, vectors)


def rank_frame(y: Tensor, rank: int) -> Frame:
    """Find the planes around matrices Y = UΣVᵀ in the coordinates of all their singular vectors.

    Parameters
    ----------
    y : Tensor (B, n²)
        The matrices.
    rank : int
        r, how many leading singular vectors count as theirs.

    Returns
    -------
    Frame
        With the families `column` to `normal` of `frames`.

    Raises
    ------
    InputError
        If the rank is not below n, or the matrices have a lower one.
    """
    check_rank(rank, y.shape[1])
    matrices = square_matrices(y.double())
    u, s, vt = torch.linalg.svd(matrices)
    n = matrices.shape[-1]
    check_numerical_rank(s, y.dtype, rank, f"a {n} x {n} matrix")
    inside = (torch.arange(n, device=y.device) < rank).double()
    left, right = inside[:, None], inside[None]
    blocks = {
        "column": (1 - left) * right,
        "row": left * (1 - right),
        "core": left * right,
        TANGENT: 1 - (1 - left) * (1 - right),
        NORMAL: (1 - left) * (1 - right),
    }
    planes = {name: block.flatten().expand(len(y), -1) for name, block in blocks.items()}
    return Frame(planes, u, vt.mT)


def families(every: list[Frame]) -> dict[str, tuple[Frame, Tensor]]:
    """Return the frame and the coordinates of each family, by name, `random` first."""
    return {name: (frame, plane) for frame in every for name, plane in frame.planes.items()}


def directions(
    every: list[Frame], shape: torch.Size, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw uniform directions of unit length in each plane.

    Parameters
    ----------
    every : list of Frame
        As `frames` returns them.
    shape : torch.Size
        (B, d_y) of the answers.
    count : int
        C, of each answer and plane.
    generator : torch.Generator
        Of the directions.

    Returns
    -------
    dict of str to Tensor (C, B, d_y)
        Directions by family, float64; NaN where a problem's plane has no dimension.
    """
    drawn = {}
    for name, (frame, plane) in families(every).items():
        gaussian = torch.randn(
            (count, *shape), generator=generator, dtype=torch.float64, device=generator.device
        )
        inside = gaussian * plane
        drawn[name] = frame.out(inside / inside.norm(dim=-1, keepdim=True))
    return drawn


def plane_curvature(
    hessian: Tensor, every: list[Frame], noise: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean curvature in each plane, and how far the Hessian mixes it with the rest.

    Parameters
    ----------
    hessian : Tensor (B, d_y, d_y)
        H, in float64.
    every : list of Frame
        As `frames` returns them.
    noise : float
        σ_k.

    Returns
    -------
    dict of str to tuple of Tensor (B,)
        By family, with its projection P: σ tr(P H)/tr P and σ‖P H (I − P)‖_F.
    """
    found = {}
    for frame in every:
        turned = frame.matrix(hessian)
        along, squares = turned.diagonal(dim1=1, dim2=2), turned.square()
        for name, plane in frame.planes.items():
            mean = (along * plane).sum(1) / plane.sum(1)
            rows = torch.einsum("bij,bi->bj", squares, plane)
            off = (rows * (1 - plane)).sum(1).sqrt()
            found[name] = noise * mean, noise * off
    return found

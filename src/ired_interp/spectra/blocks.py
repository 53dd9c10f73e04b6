"""Frobenius norms of the blocks of a curvature matrix, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.spectra.curvature import CurvatureOperator
from ired_interp.spectra.layers import layers_of
from ired_interp.spectra.progress import SolverProgress
from ired_interp.spectra.vectors import dot


@dataclass(frozen=True)
class BlockNorms:
    """Squared Frobenius norms of all blocks H_ab, and their errors.

    Attributes
    ----------
    names : tuple of str
        The L blocks of parameters.
    squares : Tensor
        (L, L) ‖H_ab‖_F², symmetric, unbiased, float64.
    errors : Tensor
        (L, L) standard errors of the squares; 0 where they are exact.
    matvecs : int
        Products used.
    """

    names: tuple[str, ...]
    squares: Tensor
    errors: Tensor
    matvecs: int

    @property
    def norms(self) -> Tensor:
        """(L, L) ‖H_ab‖_F, the roots of the squares."""
        return self.squares.sqrt()

    @property
    def off_diagonal(self) -> float:
        """Share of ‖H‖_F² that lies between different blocks."""
        return float(1 - self.squares.trace() / self.squares.sum())


def block_norms(
    operator: CurvatureOperator,
    blocks: Mapping[str, Sequence[str]] | None = None,
    products: int = 10,
    *,
    seed: int = 0,
    progress: bool = True,
) -> BlockNorms:
    """Estimate ‖H_ab‖_F² of all pairs of blocks by random products.

    A vector z of random signs on block b gives E ‖(H z)_a‖² = ‖H_ab‖_F² for every a from one
    product. H_ab and H_ba, which are independent, are averaged. A block of no more parameters than
    products is multiplied by unit vectors instead, which is exact.

    Parameters
    ----------
    operator : CurvatureOperator
        A Hessian or Gauss–Newton matrix.
    blocks : mapping of str to sequence of str, optional
        Block → names of its parameters (as in ``operator.named``), no parameter in two blocks; the
        layers where not given.
    products : int
        For each block, at least 2.
    seed : int
        Of the signs, which have their own stream.
    progress : bool
        Show what is done on stderr.

    Returns
    -------
    BlockNorms
        On the CPU.

    Raises
    ------
    InputError
        If there are fewer than 2 products, or the blocks name other parameters or one twice.
    RunError
        If two products of one vector differ.

    References
    ----------
    Avron and Toledo, "Randomized algorithms for estimating the trace of an implicit symmetric
    positive semi-definite matrix", J. ACM 58, 2011, applied to H_abᵀ H_ab.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import HessianOperator, block_norms
    >>> u, v = torch.ones(1, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> H = HessianOperator(lambda: (u**2 + 3 * u * v).sum(), {"u": u, "v": v})
    >>> block_norms(H, products=2, progress=False).squares  # H_uv = (3, 3), H_vv = 0
    tensor([[16., 18.],
            [18.,  0.]], dtype=torch.float64)
    """
    if products < 2:
        raise InputError(f"products is {products}; expected at least 2 for each block")
    members = {name: list(names) for name, names in (blocks or layers_of(operator.named)).items()}
    used = [name for names in members.values() for name in names]
    if unknown := [name for name in used if name not in operator.named]:
        raise InputError(
            f"the blocks name {unknown[0]!r}, which is no parameter; there are "
            f"{', '.join(operator.named)}"
        )
    if len(set(used)) < len(used):
        raise InputError("a parameter is in two blocks; expected each in at most one")
    operator.check()
    places = torch.arange(operator.shape[0], device=operator.device)
    sizes = [p.numel() for p in operator.parameters]
    pieces = dict(zip(operator.named, places.split(sizes), strict=True))
    indices = [torch.cat([pieces[n] for n in names]) for names in members.values()]
    counts = [min(products, len(index)) for index in indices]
    means, errors = (torch.zeros(len(indices), len(indices), dtype=torch.float64) for _ in "me")
    source = stream("cpu", seed, "blocks")
    bar, done = SolverProgress("blocks", progress and operator.is_rank_zero()), 0
    try:
        for b, (index, count) in enumerate(zip(indices, counts, strict=True)):
            samples = torch.empty(count, len(indices), dtype=torch.float64)
            exact = len(index) <= products
            for i in range(count):
                z = torch.zeros(operator.shape[0], dtype=operator.dtype, device=operator.device)
                signs = torch.randint(0, 2, (len(index),), generator=source) * 2 - 1
                z[index[i] if exact else index] = 1 if exact else signs.to(z)
                image = operator @ z
                parts = (image[other] for other in indices)
                samples[i] = torch.tensor([dot(part, part) for part in parts], dtype=torch.float64)
                done += 1
                bar.update(f"{done} of {sum(counts)} products", done / sum(counts))
            means[:, b] = samples.sum(0) if exact else samples.mean(0)
            errors[:, b] = 0 if exact else samples.std(0) / count**0.5
    finally:
        bar.close()
    known = torch.tensor([len(index) <= products for index in indices])
    weights = torch.where(known[None, :] == known[:, None], 0.5, known[None, :].double())
    weights.fill_diagonal_(0.5)  # one estimate, counted twice
    squares = weights * means + (weights * means).T
    variances = (weights * errors) ** 2
    variances = variances + variances.T
    variances.diagonal().mul_(2)
    return BlockNorms(tuple(members), squares, variances.sqrt(), sum(counts))

"""Trace of an operator by Hutch++."""

from __future__ import annotations

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.spectra.estimate import Estimate, from_samples
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.progress import SolverProgress
from ired_interp.spectra.vectors import dot, gaussian, norm


def trace(
    operator: SymmetricOperator,
    matvecs: int = 40,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> Estimate:
    """Trace by Hutch++: exact on the range of A times a quarter of the vectors, sampled beside it.

    The samples are independent given that range, so that Student's interval holds; the
    leave-one-out estimates of XTrace are not, and their interval was measured to cover the trace in
    82 % of 400 runs where 95 % was asked. Samples lie on the sphere in the complement of the range,
    which makes them exact for multiples of the identity there.

    Parameters
    ----------
    operator : SymmetricOperator
        N×N.
    matvecs : int
        Products, at least 8; two quarters for the range, the rest for samples. A quarter as many
        vectors are held.
    confidence : float
        Of the interval.
    seed : int
        Of the vectors, which have their own stream.
    progress : bool
        Show what is done on stderr.

    Returns
    -------
    Estimate
        Exact, with error 0, where a quarter of the products reaches N.

    Raises
    ------
    InputError
        If there are fewer than 8 products.
    RunError
        If two products of one vector differ.

    References
    ----------
    Meyer, Musco, Musco and Woodruff, "Hutch++: optimal stochastic trace estimation", SOSA 2021.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, trace
    >>> A = MatrixOperator(torch.diag(torch.arange(100.0)).double())  # trace 4950
    >>> found = trace(A, matvecs=80, progress=False)
    >>> abs(found.value - 4950) < 5 * found.error < 500
    True
    """
    size, quarter = operator.shape[0], matvecs // 4
    if quarter < 2:
        raise InputError(f"matvecs is {matvecs}; expected at least 8")
    operator.check()
    if quarter >= size:
        value = float(operator.dense().diagonal().double().sum())
        return Estimate(value, 0.0, value, value)
    bar, done = SolverProgress("trace", progress and operator.is_rank_zero()), 0
    source = operator.source(seed, "trace")

    def product(v: torch.Tensor) -> torch.Tensor:
        nonlocal done
        done += 1
        bar.update(f"{done} of {matvecs} products", done / matvecs)
        return operator @ v

    try:
        images = [
            product(gaussian(size, operator.dtype, operator.device, source)) for _ in range(quarter)
        ]
        basis = torch.linalg.qr(torch.stack(images, 1))[0]
        del images
        inside = sum(dot(q, product(q)) for q in basis.unbind(1))
        samples = np.empty(matvecs - 2 * quarter)
        for i in range(len(samples)):
            v = gaussian(size, operator.dtype, operator.device, source)
            for _ in range(2):
                v.sub_(basis @ (basis.T @ v))
            v.mul_((size - quarter) ** 0.5 / norm(v))
            samples[i] = dot(v, product(v))
    finally:
        bar.close()
    return from_samples(inside + samples, confidence)

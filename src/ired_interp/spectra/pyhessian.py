"""PyHessian's power iteration and trace behind this package's interface, for its numbers."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.spectra.estimate import Estimate, from_samples
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.spectra.spectrum import Spectrum, SpectrumWarning, residual_norms


class _Objective(nn.Module):
    """A model in PyHessian's sense, whose output is the objective itself."""

    def __init__(self, operator: HessianOperator, parameters: list[Tensor]) -> None:
        super().__init__()
        # In a list, so that no module in it becomes a submodule and is put into eval mode.
        self._operator = [operator]
        for i, p in enumerate(parameters):
            self.register_parameter(f"p{i}", cast(nn.Parameter, p))

    def forward(self, inputs: Tensor) -> Tensor:
        operator = self._operator[0]
        if operator.without_data:
            return operator.objective()
        values = [
            operator.objective(chunk) * w
            for chunk, w in zip(operator.chunks(), operator.weights, strict=True)
        ]
        return torch.stack(values).sum()


@contextmanager
def _prepared(operator: HessianOperator, seed: int) -> Iterator[Any]:
    """Make a PyHessian object of the objective; gradients and random state are put back after.

    Raises
    ------
    InputError
        For what PyHessian cannot do.
    """
    from pyhessian import hessian

    if operator.group is not None:
        raise InputError(
            "PyHessian knows no process groups; make the operator without one or use the native "
            "backend"
        )
    if operator.device.type not in ("cpu", "cuda"):
        raise InputError(
            f"PyHessian runs on cpu or cuda, not on {operator.device}; use the native backend"
        )
    foreign = [name for name, p in operator.named.items() if not isinstance(p, nn.Parameter)]
    if foreign:
        raise InputError(
            f"PyHessian differentiates in nn.Parameters only, not in {', '.join(foreign)}; use the "
            "native backend"
        )
    before = [p.grad for p in operator.parameters]
    seeded = int(torch.randint(2**62, (1,), generator=stream("cpu", seed, "pyhessian")))
    try:
        for p in operator.parameters:
            p.grad = None
        reached = operator.reached()
        devices = [operator.device] if operator.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", message="Using backward.*create_graph")
            torch.manual_seed(seeded)
            nothing = torch.zeros(1, device=operator.device)
            yield hessian(
                _Objective(operator, reached),
                lambda output, target: output,
                data=(nothing, nothing),
                cuda=operator.device.type == "cuda",
            )
    finally:
        for p, gradient in zip(operator.parameters, before, strict=True):
            p.grad = gradient  # breaks the reference cycle by which PyHessian leaks its graph, too


def pyhessian_eigenvalues(
    operator: HessianOperator,
    k: int = 20,
    tol: float = 1e-3,
    *,
    iterations: int = 100,
    seed: int = 0,
) -> Spectrum:
    """Find the k eigenvalues of largest magnitude by PyHessian's power iteration and deflation.

    ``residuals`` are true ones, measured by k products of our own, since PyHessian gives none: its
    tolerance is on the change of an eigenvalue between two iterations, which says little about its
    error. ``converged`` judges by the residuals.

    Parameters
    ----------
    operator : HessianOperator
        Of nn.Parameters; those that the objective does not reach are left out, as PyHessian cannot
        take them.
    k : int
        Its top_n.
    tol : float
        Its tol.
    iterations : int
        Its maxIter.
    seed : int
        Of its random vectors, which it draws from the global generator; that is put back.

    Returns
    -------
    Spectrum
        Eigenpairs, with residuals measured here.

    Raises
    ------
    InputError
        For what PyHessian cannot do: process groups, tensors that are no nn.Parameter, other
        devices, objectives without curvature.

    References
    ----------
    Yao, Gholami, Keutzer and Mahoney, "PyHessian: neural networks through the lens of the Hessian",
    IEEE Big Data 2020.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import HessianOperator, pyhessian_eigenvalues
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> H = HessianOperator(lambda: (torch.tensor([9.0, 1.0, 0.1]) * w.square()).sum() / 2, w)
    >>> round(float(pyhessian_eigenvalues(H, k=1, tol=1e-5).eigenvalues), 3)
    9.0
    """
    begin, first = time.monotonic(), operator.matvecs
    operator.check()
    with _prepared(operator, seed) as library:
        reached = {id(p) for p in library.params}
        products = 0

        def count(gradient: Tensor) -> None:
            nonlocal products
            products += 1

        curved = next((g for g in library.gradsH if g.requires_grad), None)
        if curved is None:
            raise InputError(
                "PyHessian needs an objective with curvature, and the gradient of this one is "
                "constant; check the objective"
            )
        hook = curved.register_hook(count)
        values, vectors = library.eigenvalues(maxIter=iterations, tol=tol, top_n=k)
        hook.remove()
        columns = []
        for vector in vectors:
            parts = {id(p): v for p, v in zip(library.params, vector, strict=True)}
            columns.append(
                operator.flatten(
                    [
                        parts[id(p)] if id(p) in reached else torch.zeros_like(p)
                        for p in operator.parameters
                    ]
                )
            )
        del library, curved, vectors
    eigenvalues = torch.tensor([math.nan if v is None else v for v in values], dtype=torch.float64)
    eigenvectors = torch.stack(columns, 1)
    operator.matvecs += products
    spent = operator.matvecs - first
    residuals = residual_norms(operator, eigenvalues, eigenvectors)
    converged = residuals <= tol * eigenvalues.abs()
    notes: tuple[str, ...] = ()
    if not converged.all():
        notes = (
            f"{int((~converged).sum())} of PyHessian's {k} eigenpairs have residuals above "
            f"{tol:g}·|λ|; see residuals",
        )
        warnings.warn(notes[0], SpectrumWarning, stacklevel=2)
    plan = "PyHessian: k + 3 vectors and the graph"
    seconds = time.monotonic() - begin
    return Spectrum(
        eigenvalues,
        eigenvectors,
        residuals,
        converged,
        spent,
        "PyHessian's rule",
        notes,
        seconds,
        0,
        0,
        plan,
    )


def pyhessian_trace(
    operator: HessianOperator, tol: float = 1e-3, *, iterations: int = 100, seed: int = 0
) -> Estimate:
    """PyHessian's Hutchinson trace: the mean of its samples, with their standard error.

    Its rule compares successive means and ends early (after two samples where the trace is
    negative), so that the error here, not ``tol``, says how good the value is.

    Parameters
    ----------
    operator : HessianOperator
        Of nn.Parameters.
    tol : float
        Its tol.
    iterations : int
        Its maxIter.
    seed : int
        Of its random vectors.

    Returns
    -------
    Estimate
        Of the trace.

    Raises
    ------
    InputError
        As ``pyhessian_eigenvalues``.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import HessianOperator, pyhessian_trace
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> H = HessianOperator(lambda: (torch.tensor([9.0, 1.0, 2.0]) * w.square()).sum() / 2, w)
    >>> round(pyhessian_trace(H).value, 3)
    12.0
    """
    operator.check()
    with _prepared(operator, seed) as library:
        samples = library.trace(maxIter=iterations, tol=tol)
    operator.matvecs += len(samples)
    if len(samples) < 2:
        return Estimate(samples[0], math.inf, -math.inf, math.inf)
    return from_samples(torch.tensor(samples, dtype=torch.float64).numpy())

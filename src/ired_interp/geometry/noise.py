"""Overlap of noisy estimates, freed of the noise."""

import torch

from ired_interp.geometry.arrays import Array, as_tensor, in_kind


def corrected_overlap(
    observed: Array, reliability: Array, other_reliability: Array, chance: float = 0.0
) -> Array:
    """Overlap of two subspaces, freed of the noise in their estimates by split halves.

    Parameters
    ----------
    observed : torch.Tensor or numpy.ndarray
        Overlap of the two estimates.
    reliability, other_reliability : torch.Tensor or numpy.ndarray
        Split-half overlap of each subspace: of two estimates of it from independent batches, each
        as large as the batch behind the estimate in ``observed``.
    chance : float
        Overlap p/N of random subspaces.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        c + (o − c)(1 − c)/√((r − c)(r′ − c)), not clipped: it scatters around the truth, beyond 1
        too. NaN where a reliability does not exceed chance: then the estimate holds nothing of its
        subspace.

    Notes
    -----
    Noise without preferred direction pulls the mean projector towards the identity: E P̂ = s P + (1
    − s) c I. Independent estimates then have E r = c + s²(1 − c) and E o = c + s s′(o_true − c),
    which is solved for o_true. With c = 0 this is Spearman's correction for attenuation, o/√(r r′).

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import corrected_overlap
    >>> corrected_overlap(torch.tensor(0.3), torch.tensor(0.5), torch.tensor(0.5))
    tensor(0.6000, dtype=torch.float64)
    """
    o, r, r_other = (
        as_tensor(value, name, ndim=0).double()
        for value, name in (
            (observed, "observed"),
            (reliability, "reliability"),
            (other_reliability, "reliability"),
        )
    )
    product = (r - chance).clamp(min=0) * (r_other - chance).clamp(min=0)
    scale = torch.where(product > 0, product, torch.nan).sqrt()
    return in_kind(chance + (o - chance) * (1 - chance) / scale, observed)

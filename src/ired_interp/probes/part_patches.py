"""Parts of a layer put from one evaluation into another: subspaces, and units by attribution."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.probes.site_patches import attributions, restored, run
from ired_interp.random import stream

Layer = Literal["h1", "h2", "h3"]
PLANES = ("leading", "random plane", "complement", "units", "random units")


def parts_of(width: int) -> list[int]:
    """List sizes of parts of a layer: powers of 2 below its width, and all of it."""
    return [2**i for i in range(width.bit_length()) if 2**i < width] + [width]


def part_restored(
    energy: Energy,
    clean: tuple[Any, Tensor],
    corrupted: tuple[Any, Tensor],
    layer: Layer,
    seed: int,
) -> list[list[tuple[float, float]]]:
    """Put parts of clean values into corrupted evaluations.

    Parameters
    ----------
    energy : Energy
        With sites.
    clean, corrupted : tuple of context and Tensor (B, d_y)
        Of the same B problems; parts are chosen by every other pair, and tried on the rest.
    layer : str
        Which site.
    seed : int
        Of random planes and orders.

    Returns
    -------
    list of list of tuple of float
        By plane and size, share of E restored and its standard error. The leading directions are
        the right singular vectors of clean less corrupted values; units are in the order of their
        mean attributed share of each problem's difference.
    """
    runs = [run(energy, *each) for each in (clean, corrupted)]
    own, theirs = (each.sites[layer] for each in runs)
    pair = torch.arange(len(own), device=own.device).div(2, rounding_mode="floor")
    fit = pair.clamp(max=len(own) // 2 - 1) % 2 == 0
    difference = (own - theirs)[fit]
    width = own.shape[1]
    basis = torch.linalg.svd(difference.double(), full_matrices=True).Vh.mT.to(own.dtype)
    generator = stream(own.device, seed, "planes")
    gaussian = torch.randn(
        width, width, generator=generator, device=own.device, dtype=torch.float64
    )
    turned = torch.linalg.qr(gaussian).Q.to(own.dtype)
    sign = (runs[0].energy - runs[1].energy).sign()
    shares = attributions(energy, *corrupted, layer, own) * sign[:, None]
    ranked = shares[fit].mean(0).argsort(descending=True)
    anyhow = torch.randperm(width, generator=generator, device=own.device)

    def plane(vectors: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda step: step @ vectors @ vectors.mT

    def units(places: Tensor) -> Callable[[Tensor], Tensor]:
        chosen = torch.zeros(width, dtype=own.dtype, device=own.device)
        chosen[places] = 1
        return lambda step: step * chosen

    test = [one._replace(energy=one.energy[~fit], gradient=one.gradient[~fit]) for one in runs]
    found = []
    for name in PLANES:
        row = []
        for size in parts_of(width):
            part = {
                "leading": plane(basis[:, :size]),
                "random plane": plane(turned[:, :size]),
                "complement": plane(basis[:, size:]),
                "units": units(ranked[:size]),
                "random units": units(anyhow[:size]),
            }[name]
            patched = run(energy, *corrupted, {layer: theirs + part(own - theirs)})
            patched = patched._replace(energy=patched.energy[~fit], gradient=patched.gradient[~fit])
            row.append(restored(patched, test[1], test[0])["energy"])
        found.append(row)
    return found

"""Fields of matrices in the singular vectors of the answers that they belong to."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.probes.planes import RANDOM, Frame, families
from ired_interp.probes.rank_manifold import square_matrices
from ired_interp.probes.spread import mean_error, ratio_of_means

SIDES = ("left", "right")


class FieldPlanes:
    """Planes of the p leading singular vectors of answers UΣVᵀ, and what lies in them.

    Parameters
    ----------
    frames : list of Frame
        Planes around the answers, of which `random` is left out.
    y : Tensor (B, n²)
        The answers.
    p : int
        Dimension of the planes, below n.

    Attributes
    ----------
    coordinates : dict
        Sides, blocks and modes.
    """

    def __init__(self, frames: list[Frame], y: Tensor, p: int) -> None:
        self.p = p
        self._u, _, vt = torch.linalg.svd(square_matrices(y.double()))
        self._v = vt.mT
        self._blocks = families(frames)
        self._blocks.pop(RANDOM, None)
        n = self._u.shape[-1]
        self.coordinates: dict[str, list[Any]] = {
            "side": list(SIDES),
            "block": list(self._blocks),
            "left_mode": list(range(n)),
            "right_mode": list(range(n)),
        }

    def overlaps(self, fields: Tensor, permutations: int, seed: int) -> dict[str, Any]:
        """Compare planes of fields with those of the answers, and of other problems' answers.

        Parameters
        ----------
        fields : Tensor (..., B, n²)
            In float64, two leading dimensions: landscape and field. NaN comes of a field of zeros.
        permutations : int
            How many.
        seed : int
            Of them.

        Returns
        -------
        dict
            Variables of a dataset.
        """
        rng = np.random.default_rng([seed, 6])
        count, p = len(self._u), self.p
        orders = rng.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
        own = {"left": self._u[..., :p], "right": self._v[..., :p]}
        found: dict[str, list[np.ndarray]] = {}
        matrices = square_matrices(fields)
        u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
        empty = (s[..., :1, None] == 0).cpu().numpy()[..., 0]
        for side, vectors in (("left", u[..., :p]), ("right", vt[..., :p, :].mT)):
            theirs = (vectors @ vectors.mT).flatten(-2)
            pairs = theirs @ (own[side] @ own[side].mT).flatten(-2).mT / p  # (..., B, B)
            table = np.where(empty, np.nan, pairs.cpu().numpy())
            mine = np.einsum("...ii->...i", table)
            null = table[..., np.arange(count), orders].mean(-1)
            values = {
                "overlap": mine.mean(-1),
                "overlap_error": mean_error(mine),
                "overlap_by_problem": mine,
                "overlap_chance": null.mean(-1),
                "overlap_chance_low": np.quantile(null, 0.025, -1),
                "overlap_chance_high": np.quantile(null, 0.975, -1),
            }
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        dims, unit = ("landscape", "field", "problem", "side"), {"units": "1"}
        stacked = {name: np.stack(values, -1) for name, values in found.items()}
        return {name: ((*dims[: v.ndim - 1], "side"), v, unit) for name, v in stacked.items()}

    def shares(self, fields: Tensor) -> dict[str, Any]:
        """Split fields into families of directions, and into products of singular vectors.

        Parameters
        ----------
        fields : Tensor (..., B, n²)
            As for `overlaps`.

        Returns
        -------
        dict
            Variables of a dataset.
        """
        matrices, unit = square_matrices(fields), {"units": "1"}
        sizes = matrices.square().sum((-2, -1)).cpu().numpy()
        shares, errors, chances = [], [], []
        n = matrices.shape[-1]
        columns = fields.double().flatten(0, -3).permute(1, 2, 0)  # (B, n², fields)
        for frame, plane in self._blocks.values():
            inside = torch.einsum("bdm,bd->mb", frame.into(columns).square(), plane)
            part = inside.reshape(fields.shape[:-1]).cpu().numpy()
            share, error = ratio_of_means(part, sizes)
            shares.append(share)
            errors.append(error)
            chances.append(float(plane.mean()))
        modes = (self._u.mT @ matrices @ self._v).square().sum(-3).cpu().numpy()
        with np.errstate(invalid="ignore"):
            modes = modes / sizes.sum(-1)[..., None, None]
        dims = ("landscape", "field", "block")
        return {
            "block_share": (dims, np.stack(shares, -1), unit),
            "block_share_error": (dims, np.stack(errors, -1), unit),
            "block_share_chance": ("block", chances, unit),
            "mode_share": (("landscape", "field", "left_mode", "right_mode"), modes, unit),
            "mode_share_chance": 1 / n**2,
        }

"""What dictionaries of vectors explain, beside their nulls, and how their atoms lie to planes."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ired_interp.probes import topk
from ired_interp.probes.planes import Frame, families
from ired_interp.probes.spread import jackknife_error, left_out
from ired_interp.probes.vector_nulls import gaussian_like, leading_components
from ired_interp.random import stream

KINDS = ("dictionary", "Gaussian null", "principal components", "random atoms", "untrained")
_HELD_OUT = 0.1
_FEW = 32  # problems whose planes are looked at together

Pair = tuple[topk.Dictionary, topk.Dictionary]


class Compared:
    """Vectors of one landscape, and what dictionaries of them are compared with.

    Parameters
    ----------
    rows : Tensor (N, d)
        The vectors, of which the last are held out.
    other : Tensor (N, d), optional
        The same of a network with new weights.
    atoms, steps, seed : int
        Of the dictionaries.
    k : int
        Landscape.

    Attributes
    ----------
    surrogate : Tensor (N, d)
        Gaussian vectors of the same mean and covariance.
    held : int
        How many are held out.
    """

    def __init__(
        self, rows: Tensor, other: Tensor | None, atoms: int, steps: int, seed: int, k: int
    ) -> None:
        self._rows, self._other, self._atoms, self._steps = rows, other, atoms, steps
        self._seed, self._k = seed, k
        self.held = max(8, round(_HELD_OUT * len(rows)))
        self.surrogate = gaussian_like(rows, stream(rows.device, seed, "surrogate", k))

    @property
    def agreement_chance(self) -> float:
        """Mean |cosine| of random atoms, matched one to one."""
        generator = stream("cpu", self._seed, "chance")
        drawn = torch.randn(2, self._atoms, self._rows.shape[1], generator=generator)
        return float(topk.agreement(*torch.nn.functional.normalize(drawn, dim=2)).mean())

    def _learn(self, rows: Tensor, l0: int, seed: int, frozen: bool = False) -> topk.Dictionary:
        generator = stream(rows.device, self._seed, "atoms", self._k, seed)
        return topk.learn_dictionary(
            rows[: -self.held], self._atoms, l0, self._steps, generator, frozen
        )

    def pairs(self, l0: int) -> tuple[Pair, Pair]:
        """Learn vectors and surrogate with l0 atoms each, from two seeds."""
        mine, null = (
            (self._learn(part, l0, 0), self._learn(part, l0, 1))
            for part in (self._rows, self.surrogate)
        )
        return mine, null

    def scores(self, l0: int, pairs: tuple[Pair, Pair] | None = None) -> np.ndarray:
        """Variance explained of what is held out, by kind, and its standard error (kinds, 2).

        Parameters
        ----------
        l0 : int
            Atoms of each vector.
        pairs : tuple, optional
            What `pairs` learned with as many; learned anew without.

        Returns
        -------
        ndarray (kinds, 2)
            NaN of the untrained network, where there is none.
        """
        rows, held = self._rows, self.held
        parts = (rows, self.surrogate)
        learned = (
            [self._learn(part, l0, 0) for part in parts]
            if pairs is None
            else [pair[0] for pair in pairs]
        )
        made = {
            name: (part, one.reconstruct(part[-held:]))
            for name, part, one in zip(KINDS, parts, learned, strict=False)
        }
        count = min(l0, rows.shape[1])
        components = leading_components(rows[:-held], rows[-held:], count)
        made["principal components"] = rows, components
        frozen = self._learn(rows, l0, 2, frozen=True)
        made["random atoms"] = rows, frozen.reconstruct(rows[-held:])
        if self._other is not None:
            one = self._learn(self._other, l0, 0)
            made["untrained"] = self._other, one.reconstruct(self._other[-held:])
        found = np.full((len(KINDS), 2), np.nan)
        for i, name in enumerate(KINDS):
            if name in made:
                whole, part = made[name]
                found[i] = share(*topk.explained(whole[-held:], part))
        return found


def share(wrong: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """1 − Σ wrong/Σ size, and its standard error over problems."""
    without = [1 - wrong[kept].sum() / size[kept].sum() for kept in left_out(len(size))]
    return 1 - wrong.sum() / size.sum(), float(jackknife_error(np.array(without)))


class Alignment(NamedTuple):
    """How atoms lie to planes.

    Attributes
    ----------
    share : ndarray (atoms, families)
        ‖P a‖², mean over problems by how much of the atom they have; NaN of one that none has.
    chance : ndarray (families,)
        tr P/d.
    """

    share: np.ndarray
    chance: np.ndarray


def plane_alignment(learned: topk.Dictionary, rows: Tensor, every: list[Frame]) -> Alignment:
    """Measure which part of each atom lies in planes that differ from problem to problem.

    Parameters
    ----------
    learned : topk.Dictionary
        Of vectors in the space of y.
    rows : Tensor (B, d_y)
        The vectors.
    every : list of Frame
        The planes of their problems.

    Returns
    -------
    Alignment
        By family.
    """
    codes, atoms = learned.codes(rows).double(), learned.atoms.double()
    total = torch.zeros(len(families(every)), len(atoms), dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), _FEW):
        few = slice(start, start + _FEW)
        columns = atoms.mT.expand(len(rows[few]), -1, -1)
        for i, (frame, plane) in enumerate(families([f.of(few) for f in every]).values()):
            inside = torch.einsum("bdm,bd->bm", frame.into(columns).square(), plane)
            total[i] += (codes[few] * inside).sum(0)
    chance = [float(plane.mean()) for _, plane in families(every).values()]
    return Alignment((total / codes.sum(0)).mT.cpu().numpy(), np.array(chance))

"""Images of vectors under an operator, and what is new of them beside vectors known already."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ired_interp.spectra.basis import Basis
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.replay import Replay
from ired_interp.spectra.vectors import subtract

FEW = 3  # known coefficients that are subtracted one by one, more by one pass over the basis
# Entries of a vector up to which launching kernels takes longer than running them.
_LAUNCH_BOUND = 1 << 23


class Images:
    """Images A q of the vectors of a Krylov basis.

    On a GPU they can be begun before they are asked for, and the sums that follow are replayed.

    Parameters
    ----------
    operator : SymmetricOperator
        A.
    """

    def __init__(self, operator: SymmetricOperator) -> None:
        self._operator = operator
        self._replays: dict[tuple[int, int], Replay] = {}
        self._runs_ahead = Replay(operator.device).records
        self._begun: tuple[Tensor, Tensor] | None = None  # a vector and its image

    def begin(self, q: Tensor) -> None:
        """Begin the image of the vector that is likely to be next, where that does not wait.

        Parameters
        ----------
        q : Tensor
            (N,).
        """
        if self._runs_ahead:
            self._begun = q, self._operator.times(q)

    def know(self, q: Tensor, image: Tensor) -> None:
        """Take the image of the vector that is next as given.

        Parameters
        ----------
        q, image : Tensor
            (N,) each; the image is written to later.
        """
        self._begun = q, image

    def forget(self, q: Tensor) -> None:
        """Take note that a vector changes, so that an image of it no longer is one.

        Parameters
        ----------
        q : Tensor
            (N,).
        """
        if self._begun and self._begun[0] is q:
            self._begun = None

    @property
    def ahead(self) -> int:
        """How many images are known that have not been asked for."""
        return int(self._begun is not None)

    def _image(self, q: Tensor) -> Tensor:
        vector, image = self._begun or (None, q)
        if vector is not q:
            return self._operator.times(q)
        self._begun = None
        return image

    def remainder(
        self, q: Tensor, known: np.ndarray, basis: Basis, sketch: Tensor, others: Sequence[Tensor]
    ) -> tuple[Tensor, list[float]]:
        """Find what is new of the image w of a vector.

        Parameters
        ----------
        q : Tensor
            (N,) the vector.
        known : ndarray
            (m,) products of w with the rows of the basis, as far as they are known.
        basis : Basis
            m rows.
        sketch : Tensor
            (N,) what the remainder is also multiplied by.
        others : sequence of Tensor
            (N,) further vectors to take from w.

        Returns
        -------
        Tensor
            (N,) the remainder.
        list of float
            What is left of w², its product with the sketch, what was taken of q, of the others, and
            of q again; read at once, as each reading waits for the device.
        """
        w, nonzero = self._image(q), np.flatnonzero(known)
        if len(nonzero) > FEW:
            w.sub_(basis.combine(torch.from_numpy(known)))
            nonzero = nonzero[:0]
        shares = torch.from_numpy(known[nonzero]).to(w.device, non_blocking=True)
        key = len(nonzero), len(others)
        if key not in self._replays:
            self._replays[key] = Replay(w.device)
        replay, vectors = self._replays[key], [*(basis[i] for i in nonzero), *others]
        inputs = (w, q, sketch, shares, *vectors)
        w, read = replay(_orthogonalise, inputs, replayable=len(w) <= _LAUNCH_BOUND)
        return w.clone() if replay.recorded else w, read.tolist()


def _orthogonalise(
    w: Tensor, q: Tensor, sketch: Tensor, shares: Tensor, *vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Take from w its known shares of the first vectors, then all of q and of the other vectors."""
    known, others = vectors[: len(shares)], vectors[len(shares) :]
    along = subtract(w, list(zip(known, shares, strict=True)), (q, *others))
    square, sketched, again = subtract(
        w, list(zip((q, *others), along, strict=True)), (w, sketch, q)
    )
    subtract(w, [(q, again)])
    left = (square - again**2).clamp(min=0)
    return w, torch.cat([left[None], sketched[None], along, again[None]])

"""Sparse dictionaries: vectors as sums of a few atoms each, learned by a TopK autoencoder."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_BATCH, _RATE, _LINEAR = 512, 1e-3, 0.3  # and the share of steps at the end that slow down
_DEAD, _AUXILIARY = 200, 1 / 32  # batches without use, and the weight of their own loss


@dataclass(frozen=True)
class Dictionary:
    """A learned dictionary.

    Attributes
    ----------
    atoms : Tensor (M, d)
        Of unit length.
    encoder : Tensor (M, d)
        Rows whose products with a vector say how much of each atom it has.
    offset : Tensor (M,)
        Added to them.
    centre : Tensor (d,)
        Subtracted from vectors.
    scale : float
        By which they are then multiplied.
    l0 : int
        Atoms that a vector is made of.
    """

    atoms: Tensor
    encoder: Tensor
    offset: Tensor
    centre: Tensor
    scale: float
    l0: int

    def codes(self, rows: Tensor) -> Tensor:
        """Find how much of each atom rows (B, d) have (B, M), at most l0 of them above 0."""
        scaled = (rows.float() - self.centre) * self.scale
        return _sparse(scaled @ self.encoder.mT + self.offset, self.l0)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Make rows (B, d) of their l0 atoms."""
        found: Tensor = self.codes(rows) @ self.atoms / self.scale + self.centre
        return found.to(rows.dtype)


def _sparse(levels: Tensor, l0: int) -> Tensor:
    """Keep the l0 largest of each row, where they are above 0."""
    top = levels.topk(min(l0, levels.shape[1]), dim=1)
    return torch.zeros_like(levels).scatter(1, top.indices, top.values.relu())


def learn_dictionary(
    rows: Tensor, atoms: int, l0: int, steps: int, generator: torch.Generator, frozen: bool = False
) -> Dictionary:
    """Learn atoms and encoder by gradient descent on the squared error.

    Parameters
    ----------
    rows : Tensor (N, d)
        Vectors.
    atoms : int
        M.
    l0 : int
        Atoms of each vector.
    steps : int
        Of Adam, on batches of 512.
    generator : torch.Generator
        Of the first atoms and the batches, on the rows' device.
    frozen : bool
        Keep the random first atoms and learn the encoder alone.

    Returns
    -------
    Dictionary
        The atoms.

    References
    ----------
    Gao et al., "Scaling and evaluating sparse autoencoders", 2024 (arXiv 2406.04093).
    """
    count, d = rows.shape
    rows, device = rows.detach().float(), rows.device
    centre = rows.mean(0)
    rows = rows - centre
    scale = d**0.5 / float(rows.norm(dim=1).mean().clamp(min=1e-30))
    rows = rows * scale
    with torch.enable_grad():
        first = torch.randn(atoms, d, generator=generator, device=device)
        decoder = torch.nn.functional.normalize(first).requires_grad_(not frozen)
        encoder = decoder.detach().clone().requires_grad_()
        offset = torch.zeros(atoms, device=device, requires_grad=True)
        learned = [encoder, offset] + ([] if frozen else [decoder])
        adam = torch.optim.Adam(learned, lr=_RATE)
        idle = torch.zeros(atoms, dtype=torch.long, device=device)
        for step in range(steps):
            for group in adam.param_groups:
                group["lr"] = _RATE * min(1.0, (1 - step / steps) / _LINEAR)
            picked = torch.randint(count, (_BATCH,), generator=generator, device=device)
            x = rows[picked]
            levels = x @ encoder.mT + offset
            codes = _sparse(levels, l0)
            error = x - codes @ decoder
            loss = error.square().sum(1).mean()
            idle = torch.where((codes > 0).any(0), 0, idle + 1)
            dead = idle > _DEAD
            if bool(dead.any()):
                few = min(d // 2, int(dead.sum()))
                spare = _sparse(levels.masked_fill(~dead, -torch.inf), max(few, 1))
                loss = loss + _AUXILIARY * (error.detach() - spare @ decoder).square().sum(1).mean()
            adam.zero_grad()
            loss.backward()
            with torch.no_grad():
                if decoder.grad is not None:
                    along = (decoder.grad * decoder).sum(1, keepdim=True)
                    decoder.grad -= along * decoder
                adam.step()
                decoder.copy_(torch.nn.functional.normalize(decoder))
    return Dictionary(decoder.detach(), encoder.detach(), offset.detach(), centre, scale, l0)


def explained(rows: Tensor, made: Tensor) -> np.ndarray:
    """Squared errors and squares of rows about their mean (2, B); 1 − Σ/Σ is what is explained."""
    rows, made = rows.double(), made.double()
    wrong, size = (rows - made).square().sum(1), (rows - rows.mean(0)).square().sum(1)
    return np.stack([wrong.cpu().numpy(), size.cpu().numpy()])


def agreement(a: Tensor, b: Tensor) -> np.ndarray:
    """Match atoms one to one, and return each pair's |cosine| (min(M, M′),), the best matching."""
    cosines = (a.double() @ b.double().mT).abs().cpu().numpy()
    rows, columns = linear_sum_assignment(-cosines)
    found: np.ndarray = cosines[rows, columns]
    return found

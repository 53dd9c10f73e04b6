"""The Hessian in y, in closed form, of a quadratic of a modulated MLP's output."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.energy.silu import silu_derivative
from ired_interp.spectra.elementwise import silu_second_derivative

# Block rows of the symmetric product; blocks below the diagonal are copied, not computed.
_BLOCKS = 4


class Layers(NamedTuple):
    """What a forward pass leaves of B rows, with width h and o of m entries."""

    u1: Tensor  # (B, h) input of the first silu
    u2: Tensor
    u3: Tensor
    o: Tensor  # (B, m)


@torch.no_grad()
def mlp_hessian(
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    gains: tuple[Tensor, Tensor],
    layers: Layers,
    slope: Tensor,
    bend: Tensor,
    chunk: int,
    tilt: Tensor | None = None,
) -> Tensor:
    """Hessian of every row of E(y) = q(o(y)), where ∇_o q = v and ∇²_o q = b·I.

    With u_l the input of layer l's silu, J_l = ∂u_l/∂y and a_l = ∂E/∂h_l,
    H = Σ_l J_lᵀ diag(a_l silu″(u_l)) J_l + b JᵀJ, with J = ∂o/∂y = W₄ diag(silu′(u₃)) J₃.
    The Gram matrix W₄ᵀW₄ is formed once, so that J₂, J₃ and the last term take one product each
    with a matrix that all rows share; one symmetric product of the stacked factors remains.

    Parameters
    ----------
    weights : tuple of Tensor (h, d), (h, h), (h, h), (m, h)
        W₁ (its columns of y alone) to W₄.
    gains : tuple of two Tensor (B, h)
        Factors on layers 2 and 3.
    layers : Layers
        The forward pass at y.
    slope : Tensor (B, m)
        v.
    bend : Tensor (B,)
        b.
    chunk : int
        Rows at a time; each takes about 9·d·h numbers.
    tilt : Tensor (B, m), optional
        Where m = d, also add diag(tilt) J + Jᵀ diag(tilt).

    Returns
    -------
    Tensor (B, d, d)
        Exactly symmetric.
    """
    w1, w2, w3, w4 = weights
    gain2, gain3 = gains
    u1, u2, u3, o = layers
    (count, width), d = u1.shape, w1.shape[1]
    gram = w4.T @ w4
    result = torch.empty(count, d, d, dtype=o.dtype, device=o.device)
    s1, s2, s3 = (silu_derivative(u) for u in (u1, u2, u3))
    a3 = slope @ w4
    a2 = (a3 * s3 * gain3) @ w3
    a1 = (a2 * s2 * gain2) @ w2
    bend1, bend2, bend3 = (a * silu_second_derivative(u) for a, u in ((a1, u1), (a2, u2), (a3, u3)))
    edges = [d * i // _BLOCKS for i in range(_BLOCKS + 1)]
    # Rows of `left` are the columns of the stacked [J₁; J₂; J₃], so that every product with a
    # weight is one large one. The buffers are used again for every chunk: fresh ones would cost
    # page faults worth a tenth of the time.
    left, right = torch.empty(2, min(chunk, count), d, 3 * width, dtype=o.dtype, device=o.device)
    left[..., :width] = w1.T
    scaled, image = torch.empty(2, len(left), d, width, dtype=o.dtype, device=o.device)
    for start in range(0, count, chunk):
        rows = slice(start, min(start + chunk, count))
        used = slice(rows.stop - start)
        j1, j2, j3 = left[used].split(width, 2)
        r1, r2, r3 = right[used].split(width, 2)

        def through(
            j: Tensor, slope: Tensor, weight: Tensor, rows: slice = rows, used: slice = used
        ) -> Tensor:
            torch.mul(j, slope[rows, None], out=scaled[used])
            return torch.matmul(scaled[used], weight, out=image[used])

        torch.mul(through(j1, s1, w2.T), gain2[rows, None], out=j2)
        torch.mul(through(j2, s2, w3.T), gain3[rows, None], out=j3)
        torch.mul(through(j3, s3, gram), (bend[:, None] * s3)[rows, None], out=r3)
        r3.addcmul_(j3, bend3[rows, None])
        torch.mul(j1, bend1[rows, None], out=r1)
        torch.mul(j2, bend2[rows, None], out=r2)
        for low, high in pairwise(edges):
            block = left[used, low:high] @ right[used, low:].mT
            result[rows, low:high, low:] = block
            result[rows, high:, low:high] = block[:, :, high - low :].mT
            corner = block[:, :, : high - low]
            result[rows, low:high, low:high] = (corner + corner.mT) / 2
        if tilt is not None:
            # The rows of this product are the columns of J.
            tilted = ((j3 * s3[rows, None]) @ w4.T) * tilt[rows, None]
            result[rows] += tilted + tilted.mT
    return result

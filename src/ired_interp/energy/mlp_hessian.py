"""The Hessian in y of the MLP energy, in closed form."""

from itertools import pairwise

import torch
from torch import Tensor

from ired_interp.energy.base import LandscapeIndex
from ired_interp.energy.mlp import MLPEnergy
from ired_interp.energy.modulated_mlp import silu_derivative

_BLOCKS = (
    4  # block rows of the symmetric product; blocks below the diagonal are copied, not computed
)


def _silu_second_derivative(u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return s * (1 - s) * (2 + u * (1 - 2 * s))


@torch.no_grad()
def mlp_hessian(
    energy: MLPEnergy, x: Tensor, y: Tensor, k: LandscapeIndex, chunk: int = 4
) -> Tensor:
    """∂²E/∂y² of every row.

    With u_l the input of layer l's silu, J_l = ∂u_l/∂y and a_l = ∂E/∂h_l,
    H = Σ_l J_lᵀ diag(a_l silu″(u_l)) J_l + 2 (W₄ diag(silu′(u₃)) J₃)ᵀ (W₄ diag(silu′(u₃)) J₃).
    The Gram matrix W₄ᵀW₄ is formed once, so that J₂, J₃ and the last term take one product each with a matrix that all
    rows share; one symmetric product of the stacked factors remains.

    Parameters
    ----------
    energy : with width h and d_y = solution_dim
    x, y, k : as for the energy, B rows
    chunk : rows at a time; each takes about 9·d_y·h numbers

    Returns
    -------
    (B, d_y, d_y), exactly symmetric
    """
    context = energy.condition(x, energy._check(x, y, k))
    w1 = energy.fc1.weight[:, energy.condition_dim :]
    w2, w3, w4 = energy.fc2.weight, energy.fc3.weight, energy.fc4.weight
    gram = 2 * w4.T @ w4
    count, d = y.shape
    width = energy.width
    result = torch.empty(count, d, d, dtype=y.dtype, device=y.device)
    u1, u2, u3, o = energy.layers(context, y)
    s1, s2, s3 = (silu_derivative(u) for u in (u1, u2, u3))
    a3 = 2 * o @ w4
    a2 = (a3 * s3 * context.gain3) @ w3
    a1 = (a2 * s2 * context.gain2) @ w2
    bend1, bend2, bend3 = (
        a * _silu_second_derivative(u) for a, u in ((a1, u1), (a2, u2), (a3, u3))
    )
    edges = [d * i // _BLOCKS for i in range(_BLOCKS + 1)]
    # Rows of `left` are the columns of the stacked [J₁; J₂; J₃], so that every product with a weight is one large one.
    # The buffers are used again for every chunk: fresh ones would cost page faults worth a tenth of the time.
    left, right = torch.empty(2, min(chunk, count), d, 3 * width, dtype=y.dtype, device=y.device)
    left[..., :width] = w1.T
    scaled, image = torch.empty(2, len(left), d, width, dtype=y.dtype, device=y.device)
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

        torch.mul(through(j1, s1, w2.T), context.gain2[rows, None], out=j2)
        torch.mul(through(j2, s2, w3.T), context.gain3[rows, None], out=j3)
        torch.mul(through(j3, s3, gram), s3[rows, None], out=r3)
        r3.addcmul_(j3, bend3[rows, None])
        torch.mul(j1, bend1[rows, None], out=r1)
        torch.mul(j2, bend2[rows, None], out=r2)
        for low, high in pairwise(edges):
            block = left[used, low:high] @ right[used, low:].mT
            result[rows, low:high, low:] = block
            result[rows, high:, low:high] = block[:, :, high - low :].mT
            corner = block[:, :, : high - low]
            result[rows, low:high, low:high] = (corner + corner.mT) / 2
    return result

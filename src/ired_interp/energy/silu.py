"""The derivative of silu(u) = u·sigmoid(u), elementwise."""

import torch
from torch import Tensor

from ired_interp.spectra.elementwise import SILU, Smooth
from ired_interp.spectra.twins import with_twin


@with_twin(lambda u: Smooth.of(u, SILU[1:]))
def silu_derivative(u: Tensor) -> Tensor:
    """First derivative, of u's shape."""
    s = torch.sigmoid(u)
    return s * (1 + u * (1 - s))

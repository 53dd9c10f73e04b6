"""Derivatives of silu(u) = u·sigmoid(u), elementwise."""

import torch
from torch import Tensor


def silu_derivative(u: Tensor) -> Tensor:
    """First derivative, of u's shape."""
    s = torch.sigmoid(u)
    return s * (1 + u * (1 - s))


def silu_second_derivative(u: Tensor) -> Tensor:
    """Second derivative, of u's shape."""
    s = torch.sigmoid(u)
    return s * (1 - s) * (2 + u * (1 - 2 * s))

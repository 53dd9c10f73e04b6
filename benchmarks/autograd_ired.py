"""The IRED training loss written the plain way: autograd for every gradient, nothing shared. The oracle of tests and benchmarks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AutogradEnergy(nn.Module):
    """The MLP energy as one forward pass per row; parameter names as in the published implementation."""

    def __init__(self, condition_dim: int, solution_dim: int, width: int = 512) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(
            nn.Identity(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 128)
        )
        self.fc1 = nn.Linear(condition_dim + solution_dim, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, solution_dim)
        self.t_map_fc2 = nn.Linear(128, 2 * width)
        self.t_map_fc3 = nn.Linear(128, 2 * width)

    def forward(self, x: Tensor, y: Tensor, k: Tensor) -> Tensor:
        frequency = torch.exp(
            torch.arange(64, device=k.device, dtype=x.dtype) * (-math.log(10000) / 63)
        )
        angle = k[:, None] * frequency
        time = self.time_mlp(torch.cat([angle.sin(), angle.cos()], 1))
        gain2, shift2 = self.t_map_fc2(time).chunk(2, 1)
        gain3, shift3 = self.t_map_fc3(time).chunk(2, 1)
        h = self.fc1(torch.cat([x, y], 1))
        h = h * torch.sigmoid(h)
        h = self.fc2(h) * (gain2 + 1) + shift2
        h = h * torch.sigmoid(h)
        h = self.fc3(h) * (gain3 + 1) + shift3
        h = h * torch.sigmoid(h)
        return self.fc4(h).square().sum(1)

    def gradient(
        self, x: Tensor, y: Tensor, k: Tensor, create_graph: bool
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            energy = self(x, y, k)
            return energy, torch.autograd.grad(energy.sum(), y, create_graph=create_graph)[0]


def autograd_loss(
    energy: AutogradEnergy,
    schedule: nn.Module,
    x: Tensor,
    y: Tensor,
    noise: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Score + 0.5 · contrastive with two negative steps, as in spec and paper, through double backward."""
    k, eps, contrast_eps = noise
    signal, sigma, step = schedule.signal[k, None], schedule.noise[k, None], schedule.step[k, None]
    score = F.mse_loss(energy.gradient(x, signal * y + sigma * eps, k, create_graph=True)[1], eps)

    found = signal * y + 3 * sigma * contrast_eps
    for _ in range(2):
        old, gradient = energy.gradient(x, found, k, create_graph=True)
        limit = 2 * signal
        moved = torch.minimum(torch.maximum(found - step * gradient, -limit), limit)
        worse = energy(x, moved, k) > old
        found = torch.where(worse[:, None], found, moved).detach()
    negative = signal * (found / signal).clamp(-2, 2) + sigma * contrast_eps
    positive = signal * y + sigma * contrast_eps
    both = energy(torch.cat([x, x]), torch.cat([positive, negative]), torch.cat([k, k]))
    return score + 0.5 * F.softplus(both[: len(x)] - both[len(x) :]).mean()

"""What changed after DDPM, in ten lines each: EDM, flow matching, consistency, latent.

`docs/what-changed.md` says of each which line of DDPM it changes. `network` is any module that
takes (b, d) numbers and a column (b, 1) that tells the noise level.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

Network = Callable[[Tensor, Tensor], Tensor]


class SmallNetwork(nn.Module):
    """(b, d) numbers and (b, 1) of the noise level to (b, d) numbers."""

    def __init__(self, d: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(d + 1, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, d),
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The level is one more number."""
        return self.layers(torch.cat([x, level], dim=1))


def train(network: nn.Module, loss_of: Callable[[], Tensor], steps: int) -> None:
    """Adam, its rate falling to 0 along half a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()
        falling.step()


def edm_x_0(network: Network, y: Tensor, s: Tensor, std: float = 0.5) -> Tensor:
    """EDM: the guess of x_0 from y = x_0 + s eps, for data of this std."""
    scale = (s**2 + std**2) ** 0.5
    f = network(y / scale, s.log() / 4)  # its input and its target have variance 1
    return std**2 / scale**2 * y + s * std / scale * f


def flow_loss(network: Network, x_0: Tensor, eps: Tensor, tau: Tensor) -> Tensor:
    """Flow matching: a straight line from x_0 to eps, and its slope for a target."""
    x = (1 - tau) * x_0 + tau * eps
    return mse_loss(network(x, tau), eps - x_0)


def flow_sample(network: Network, x: Tensor, n: int) -> Tensor:
    """n steps of Euler's method from noise, tau = 1, to data, tau = 0."""
    for k in range(n, 0, -1):
        x = x - network(x, torch.full_like(x[:, :1], k / n)) / n
    return x


def consistency_loss(
    network: Network, eps_of: Network, y: Tensor, s: Tensor, s_prev: Tensor
) -> Tensor:
    """Two points of one path must be sent to the same end; the lower one is the teacher."""
    with torch.no_grad():
        lower = y + (s_prev - s) * eps_of(y, s)  # Euler's step with a trained network
        target = edm_x_0(network, lower, s_prev)
    return mse_loss(edm_x_0(network, y, s), target)


class Latent:
    """Pictures (b, c, h, w) as d numbers of std 1: the linear autoencoder that loses least."""

    def __init__(self, images: Tensor, d: int) -> None:
        flat = images.flatten(1)
        self.shape, self.mean = images.shape[1:], flat.mean(0)
        directions: Any = torch.linalg.svd(flat - self.mean, full_matrices=False)[2]
        self.directions = directions[:d]
        self.scale = ((flat - self.mean) @ self.directions.T).std()

    def encode(self, images: Tensor) -> Tensor:
        """(b, c, h, w) to (b, d)."""
        return (images.flatten(1) - self.mean) @ self.directions.T / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """(b, d) to (b, c, h, w)."""
        return (self.scale * z @ self.directions + self.mean).reshape(-1, *self.shape)

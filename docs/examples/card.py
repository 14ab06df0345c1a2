"""DDPM and DDIM on a card: schedule, loss, and the loop of both.

ddpm compare --candidate docs/examples/card.py:adapted
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from compare import Adapter

# region: card
T = 1000
betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
alpha_bars = (1 - betas).cumprod(0)


def add_noise(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    a = alpha_bars[t].reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
    return (a**0.5).to(x_0) * x_0 + ((1 - a) ** 0.5).to(x_0) * eps


def loss(network: nn.Module, x_0: Tensor) -> Tensor:
    t = torch.randint(T, (len(x_0),))
    eps = torch.randn_like(x_0)
    return mse_loss(network(add_noise(x_0, eps, t), t), eps)


@torch.no_grad()
def sample(network: nn.Module, shape: tuple[int, ...], n: int = 50, eta: float = 1.0) -> Tensor:
    network.eval()
    x = torch.randn(shape)
    visited = [round(T - i * T / n) - 1 for i in range(n)]  # trailing
    for t, prev in zip(visited, [*visited[1:], -1], strict=True):
        a = float(alpha_bars[t])
        a_prev = float(alpha_bars[prev]) if prev >= 0 else 1.0
        eps = network(x, torch.full(shape[:1], t))
        x_0 = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
        eps = (x - a**0.5 * x_0) / (1 - a) ** 0.5  # the one that belongs to it
        variance = (1 - a_prev) / (1 - a) * (1 - a / a_prev)
        sigma = eta * variance**0.5  # eta = 1: DDPM, eta = 0: DDIM
        x = a_prev**0.5 * x_0 + (1 - a_prev - sigma**2) ** 0.5 * eps
        if prev >= 0:
            x = x + sigma * torch.randn(shape)
    return x


# endregion: card
adapted = Adapter(
    name="card",
    alpha_bar=lambda: alpha_bars,
    add_noise=add_noise,
    loss=loss,
    sample=lambda network, shape: sample(network, shape),
)

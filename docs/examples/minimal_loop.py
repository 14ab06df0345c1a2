"""A script with a loop and no class: betas, a training loss, a sampling loop of fewer steps.

ddpm compare --candidate docs/examples/minimal_loop.py:adapted
"""

import torch
from torch import Tensor, nn

from compare import Adapter

T = 1000
STEPS = 50
betas = torch.linspace(1e-4, 0.02, T)
alphas_bar = torch.cumprod(1 - betas, dim=0)


def training_loss(model: nn.Module, x0: Tensor) -> Tensor:
    """Mean squared error of the predicted noise for images in [-1, 1]."""
    t = torch.randint(0, T, (x0.shape[0],))
    noise = torch.randn_like(x0)
    a = alphas_bar[t][:, None, None, None]  # (b, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * noise
    return ((model(xt, t) - noise) ** 2).mean()


@torch.no_grad()
def sample(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Images in [-1, 1] from noise, by STEPS of the T steps."""
    model.eval()
    x = torch.randn(shape)
    steps = list(range(0, T, T // STEPS))[::-1]
    for t, prev in zip(steps, [*steps[1:], -1], strict=True):
        eps = model(x, torch.full((shape[0],), t))
        a = alphas_bar[t]
        a_prev = alphas_bar[prev] if prev >= 0 else torch.tensor(1.0)
        beta = 1 - a / a_prev
        x = (x - beta / (1 - a).sqrt() * eps) / (1 - beta).sqrt()
        if prev >= 0:
            x = x + (beta * (1 - a_prev) / (1 - a)).sqrt() * torch.randn_like(x)
    model.train()
    return x.clamp(-1, 1)


adapted = Adapter(
    alpha_bar=lambda: alphas_bar, sample=sample, loss=training_loss, name="minimal_loop"
)

"""A loop of DDIM's in fewer steps and nothing else; it stops before the end, mistake 79."""

import torch

n_steps = 100
alpha_bar = (1 - torch.linspace(1e-3, 0.2, n_steps)).cumprod(0)


@torch.no_grad()
def ddim_sample(model, shape, skip=5):
    model.eval()
    x = torch.randn(shape)
    for i in range(n_steps - 1, skip, -skip):
        eps = model(x, torch.full((shape[0],), i))
        bar, before = alpha_bar[i], alpha_bar[i - skip]
        x_0 = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
        x = before.sqrt() * x_0 + (1 - before).sqrt() * eps
    return x

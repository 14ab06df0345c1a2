"""Functions that are handed the model and their tables; nothing stands at the top of the file."""

import torch


def q_sample(x_0, t, noise, alphas_cumprod):
    bar = alphas_cumprod[t].reshape(-1, 1, 1, 1)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * noise


def p_sample(model, x, t, betas, alphas_cumprod):
    beta, bar = (v[t].reshape(-1, 1, 1, 1) for v in (betas, alphas_cumprod))
    mean = (x - beta / (1 - bar).sqrt() * model(x, t)) / (1 - beta).sqrt()
    return mean + beta.sqrt() * torch.randn_like(x) * (t > 0).float().reshape(-1, 1, 1, 1)


@torch.no_grad()
def generate(model, n_samples, channels, image_size, betas, alphas_cumprod):
    model.eval()
    x = torch.randn(n_samples, channels, image_size, image_size)
    for i in reversed(range(len(betas))):
        x = p_sample(model, x, torch.full((n_samples,), i), betas, alphas_cumprod)
    return x


def diffusion_loss(model, x_0, alphas_cumprod):
    t = torch.randint(0, len(alphas_cumprod), (len(x_0),))
    noise = torch.randn_like(x_0)
    return ((model(q_sample(x_0, t, noise, alphas_cumprod), t) - noise) ** 2).mean()

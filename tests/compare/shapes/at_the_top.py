"""Functions and tables at the top of a file, as the annotated diffusion model has them."""

import torch
import torch.nn.functional as F

timesteps = 100
betas = torch.linspace(1e-3, 0.2, timesteps)
alphas_cumprod = torch.cumprod(1 - betas, axis=0)
alphas_cumprod_prev = F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
sqrt_recip_alphas = torch.sqrt(1.0 / (1 - betas))
posterior_variance = betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod)


def extract(a, t, x_shape):
    return a.gather(-1, t).reshape(len(t), *((1,) * (len(x_shape) - 1)))


def q_sample(x_start, t, noise=None):
    noise = torch.randn_like(x_start) if noise is None else noise
    bar = extract(alphas_cumprod, t, x_start.shape)
    return bar.sqrt() * x_start + (1 - bar).sqrt() * noise


def p_losses(denoise_model, x_start, t, noise=None, loss_type="l1"):
    noise = torch.randn_like(x_start) if noise is None else noise
    predicted = denoise_model(q_sample(x_start=x_start, t=t, noise=noise), t)
    return F.l1_loss(noise, predicted) if loss_type == "l1" else F.mse_loss(noise, predicted)


@torch.no_grad()
def p_sample(model, x, t, t_index):
    beta, bar = extract(betas, t, x.shape), extract(alphas_cumprod, t, x.shape)
    mean = extract(sqrt_recip_alphas, t, x.shape) * (x - beta * model(x, t) / (1 - bar).sqrt())
    if t_index == 0:
        return mean
    return mean + extract(posterior_variance, t, x.shape).sqrt() * torch.randn_like(x)


@torch.no_grad()
def p_sample_loop(model, shape):
    img = torch.randn(shape)
    for i in reversed(range(timesteps)):
        img = p_sample(model, img, torch.full((shape[0],), i, dtype=torch.long), i)
    return img


@torch.no_grad()
def sample(model, image_size, batch_size=16, channels=3):
    return p_sample_loop(model, shape=(batch_size, channels, image_size, image_size))

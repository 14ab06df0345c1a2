"""Tables alone, returned by a function in a dict; right."""

import torch


def make_tables(timesteps=1000):
    betas = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)
    alphas_cumprod = (1 - betas).cumprod(0)
    return {
        "betas": betas,
        "alphas_cumprod": alphas_cumprod,
        "sqrt_alphas_cumprod": alphas_cumprod.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas_cumprod).sqrt(),
    }

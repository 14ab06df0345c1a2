"""A scheduler as people write it, with one mistake in it; can you see which?

ddpm compare --candidate docs/examples/my_scheduler.py:MyScheduler
"""

import torch


class MyScheduler:
    """Ho et al. 2020, Algorithms 1 and 2, for a model that predicts the noise."""

    def __init__(self, num_train_timesteps=1000):
        self.beta = torch.linspace(1e-4, 0.02, num_train_timesteps, dtype=torch.float64)
        self.alpha = 1 - self.beta
        self.alphas_cumprod = self.alpha.cumprod(0)
        self.timesteps = torch.arange(num_train_timesteps).flip(0)

    def add_noise(self, x0, noise, t):
        alpha_bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise).to(x0.dtype)

    def step(self, model_output, t, x_t, generator=None):
        beta, alpha, alpha_bar = self.beta[t], self.alpha[t], self.alphas_cumprod[t]
        mean = (x_t - beta / (1 - alpha_bar) * model_output) / alpha.sqrt()
        if t == 0:
            return mean.to(x_t.dtype)
        z = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
        return (mean + beta.sqrt() * z).to(x_t.dtype)

"""A right class that begins with one method. Wanted: right, schedule and forward judged."""

import torch


class OnlyForward:
    def __init__(self, num_train_timesteps=1000):
        self.alphas_cumprod = (
            1 - torch.linspace(1e-4, 0.02, num_train_timesteps, dtype=torch.float64)
        ).cumprod(0)

    def add_noise(self, x, e, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt().to(x) * x + (1 - a).sqrt().to(x) * e

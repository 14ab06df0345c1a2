"""A DDPM scheduler to be judged: ddpm compare --candidate mine.py:MyScheduler

Replace the bodies by your own code. Add a keyword to __init__ (beta_schedule, variance_type,
clip_sample, prediction_type, timestep_spacing, ...) and it is judged with every value it takes.
"""

import torch


class MyScheduler:
    """The model predicts the noise; t runs from 0 to T - 1."""

    def __init__(self, num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02):
        betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)  # (T,)
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, n):
        T = len(self.alphas_cumprod)
        self.timesteps = torch.arange(n).flip(0) * (T // n)  # (n,), falling: `leading`

    def add_noise(self, x0, noise, t):
        alpha_bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
        signal, noise_level = alpha_bar.sqrt().to(x0.dtype), (1 - alpha_bar).sqrt().to(x0.dtype)
        return signal * x0 + noise_level * noise

    def step(self, model_output, t, x_t, generator=None):
        """x_t -> x_{t-1}; the model predicts the noise."""
        after = self.timesteps[self.timesteps < t]
        alpha_bar = float(self.alphas_cumprod[t])
        alpha_bar_prev = float(self.alphas_cumprod[after.max()]) if len(after) else 1.0
        alpha = alpha_bar / alpha_bar_prev
        beta = 1 - alpha
        x_0 = (x_t - (1 - alpha_bar) ** 0.5 * model_output) / alpha_bar**0.5
        mean = alpha_bar_prev**0.5 * beta / (1 - alpha_bar) * x_0
        mean = mean + alpha**0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t
        if not len(after):
            return mean
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta
        z = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
        return mean + variance**0.5 * z

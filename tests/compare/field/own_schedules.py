"""Schedules of one's own in a class that names T, and words of one's own for them."""

import math

import torch


class Scheduler:
    def forward(self, betas):
        self.betas = betas.float()
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise


def cosine(T):
    f = ((torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


class AnyLength(Scheduler):
    """Right: a schedule of its own for whatever T."""

    def __init__(self, num_train_timesteps=1000):
        u = torch.linspace(0, 1, num_train_timesteps)
        self.forward(10 / num_train_timesteps * (0.01 + u**2))


class OneLength(Scheduler):
    """Right: always the same 200 steps of its own."""

    def __init__(self, num_train_timesteps=1000):
        self.forward(1e-3 + 0.05 * torch.linspace(0, 1, 200) ** 3)


class ItsDefault(Scheduler):
    """Right: always the 200 steps that its signature says."""

    def __init__(self, num_train_timesteps=200):
        self.forward(torch.linspace(1e-4, 0.02, 200))


class IgnoresT(Scheduler):
    """Wrong: 200 steps where 1000 are its default and are asked."""

    def __init__(self, num_train_timesteps=1000):
        self.forward(torch.linspace(1e-4, 0.02, 200))


class NotItsBetas(AnyLength):
    """Wrong: a schedule of its own whose table is not the product of its betas."""

    def __init__(self, num_train_timesteps=1000):
        super().__init__(num_train_timesteps)
        self.alphas_cumprod = self.alphas_cumprod.sqrt()


class OwnWord(Scheduler):
    """Right: its word for the cosine is its default; any other is linear."""

    def __init__(
        self, num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="cosine"
    ):
        T = num_train_timesteps
        chosen = cosine(T) if beta_schedule == "cosine" else torch.linspace(beta_start, beta_end, T)
        self.forward(chosen)


class OwnWordIsLinear(Scheduler):
    """Wrong: the cosine by its own word is linear (10-linear)."""

    def __init__(
        self, num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="cosine"
    ):
        self.forward(torch.linspace(beta_start, beta_end, num_train_timesteps))


class AnyWord(Scheduler):
    """Right: takes any word and has one schedule of its own."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="bent"):
        u = torch.linspace(0, 1, num_train_timesteps)
        self.forward(10 / num_train_timesteps * (0.01 + u**2))


class ScaledEnds(Scheduler):
    """Right: linear between ends that are scaled by 1000 / T, as in improved-diffusion."""

    def __init__(self, num_train_timesteps=1000):
        T = num_train_timesteps
        self.forward(torch.linspace(0.1 / T, 20 / T, T))

"""Cosine schedules as written in public code.

OneMore: alphas_cumprod keeps T + 1 entries and starts at 1: t = 0 adds no noise, every level is
    one early. Wanted: the table is shifted by one
FromStart: abar(t / T) for t = 0..T-1, not (t + 1) / T: the same table shifted, T entries.
    Wanted: shifted by one
Floor: betas clipped to [0.0001, 0.9999]. A convention: b_0 is 4.1e-5 in the paper. Right
NoClamp: betas are not capped, so nothing is left of the image at T-1
"""

import math

import torch


def f(u):
    return torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2


class Cosine:
    def __init__(self, num_train_timesteps=1000):
        T = num_train_timesteps
        self.alphas_cumprod = self.table(T)
        self.betas = 1 - self.alphas_cumprod / torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise


class OneMore(Cosine):
    def table(self, T):
        u = torch.linspace(0, 1, T + 1)
        return f(u) / f(u)[0]


class FromStart(Cosine):
    def table(self, T):
        return f(torch.arange(T) / T)


class Floor(Cosine):
    def table(self, T):
        u = torch.linspace(0, 1, T + 1)
        a = f(u) / f(u)[0]
        return (1 - (1 - a[1:] / a[:-1]).clamp(0.0001, 0.9999)).cumprod(0)


class NoClamp(Cosine):
    def table(self, T):
        u = torch.linspace(0, 1, T + 1)
        return (f(u) / f(u)[0])[1:]

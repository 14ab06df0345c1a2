"""Betas alone, made by a function: the cosine is not squared, mistake 10-square."""

import math

import torch


def cosine_beta_schedule(timesteps, s=0.008):
    x = torch.linspace(0, timesteps, timesteps + 1)
    f = torch.cos((x / timesteps + s) / (1 + s) * math.pi * 0.5)
    return torch.clip(1 - f[1:] / f[:-1], 0, 0.999)

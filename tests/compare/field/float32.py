"""Tables in torch's default dtype, as public code has them."""

import math

import torch


class Scheduler:
    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)


class Cosine32(Scheduler):
    """Right: the cosine in float32, its betas quotients of it."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"):
        if beta_schedule != "squaredcos_cap_v2":
            raise ValueError(beta_schedule)
        u = torch.linspace(0, num_train_timesteps, num_train_timesteps + 1)
        f = torch.cos((u / num_train_timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
        f = f / f[0]
        self.betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)


class CosineDirect32(Cosine32):
    """Right: the same, alphas_cumprod read off the cosine but for its last."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"):
        super().__init__(num_train_timesteps, beta_schedule)
        u = torch.linspace(0, 1, num_train_timesteps + 1)
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2).pow(2)
        self.alphas_cumprod = torch.cat([(f / f[0])[1:-1], self.alphas_cumprod[-1:]])


class Scaled32(Scheduler):
    """Right: scaled_linear, its betas taken back out of the table."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="scaled_linear"):
        if beta_schedule != "scaled_linear":
            raise ValueError(beta_schedule)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, num_train_timesteps) ** 2
        self.alphas_cumprod = (1 - betas).cumprod(0)
        before = torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])
        self.betas = 1 - self.alphas_cumprod / before


class Rescaled32(Scheduler):
    """Right: linear, shifted to end without signal, its betas taken back out of the table."""

    def __init__(self, num_train_timesteps=1000):
        root = (1 - torch.linspace(1e-4, 0.02, num_train_timesteps)).cumprod(0).sqrt()
        self.alphas_cumprod = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
        before = torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])
        self.betas = 1 - self.alphas_cumprod / before


class LowCap32(Cosine32):
    """Wrong: the cosine whose betas are off by a thousandth in mid-chain."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"):
        super().__init__(num_train_timesteps, beta_schedule)
        self.betas[num_train_timesteps // 2] *= 1.001


class CastForGood(Cosine32):
    """Wrong: add_noise keeps its table in the dtype of its last call."""

    def add_noise(self, x_0, noise, t):
        self.alphas_cumprod = self.alphas_cumprod.to(x_0.dtype)
        return super().add_noise(x_0, noise, t)


class CastPrivately(Cosine32):
    """Wrong: the same of a table of roots that nobody sees."""

    def __init__(self, num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"):
        super().__init__(num_train_timesteps, beta_schedule)
        self._roots = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()

    def add_noise(self, x_0, noise, t):
        self._roots = tuple(root.to(x_0.dtype) for root in self._roots)
        signal, level = (root[t].reshape(-1, 1, 1, 1) for root in self._roots)
        return signal * x_0 + level * noise


class CastsWhatItReads(Cosine32):
    """Right: only what is read from the table is cast."""

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt().to(x_0.dtype) * x_0 + (1 - a).sqrt().to(x_0.dtype) * noise

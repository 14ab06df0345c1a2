"""Right choices that papers and public code differ in."""

import torch


class DDIM:
    """eps is the model's own; only clip_sample is named."""

    again = False

    def __init__(self, num_train_timesteps=100, clip_sample=True):
        self.T, self.clip = num_train_timesteps, clip_sample
        betas = torch.linspace(0.1 / self.T, 20 / self.T, self.T, dtype=torch.float64)
        self.alphas_cumprod = (1 - betas).cumprod(0)
        self.set_timesteps(self.T)

    def set_timesteps(self, n):
        self.timesteps = torch.arange(n).flip(0) * (self.T // n)

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)

    def step(self, model_output, t, sample):
        listed = [*self.timesteps.tolist(), -1]
        before = listed[listed.index(int(t)) + 1]
        a = float(self.alphas_cumprod[t])
        p = float(self.alphas_cumprod[before]) if before >= 0 else 1.0
        x_0 = (sample - (1 - a) ** 0.5 * model_output) / a**0.5
        x_0 = x_0.clamp(-1, 1) if self.clip else x_0
        eps = (sample - a**0.5 * x_0) / (1 - a) ** 0.5 if self.again else model_output
        return p**0.5 * x_0 + (1 - p) ** 0.5 * eps


class Rederives(DDIM):
    """eps anew from the clipped x0-hat, and no option says so."""

    again = True


class AlwaysRederives(Rederives):
    """The same, and the clip is not named either."""

    def __init__(self, num_train_timesteps=100):
        super().__init__(num_train_timesteps, True)


class Quadratic(DDIM):
    """Dense at the end: with ten steps the list ends in 0, 0."""

    def __init__(self):
        super().__init__(100, False)

    def set_timesteps(self, n):
        rising = torch.linspace(0, (self.T - 1) ** 0.5, n, dtype=torch.float64) ** 2
        self.timesteps = rising.long().flip(0) if n < self.T else torch.arange(n).flip(0)


class FromTheEnd(DDIM):
    """One step alone goes from T - 1."""

    def set_timesteps(self, n):
        super().set_timesteps(n)
        self.timesteps = self.timesteps if n > 1 else torch.tensor([self.T - 1])


class TooMany(DDIM):
    """Wrong: n + 1 steps where n are asked for some n (74)."""

    def set_timesteps(self, n):
        self.timesteps = torch.arange(0, self.T, self.T // n).flip(0)


class NotFlattened(DDIM):
    """A note only: t of shape (1, b) gives each channel a t of its own (22)."""

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t]
        while a.dim() < x_0.dim():
            a = a.unsqueeze(-1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)

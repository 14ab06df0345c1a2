"""Embeddings of a timestep in the styles of public code, written anew; what is wrong is said."""

import math

import torch
from torch import nn


class SinusoidalPosEmb(nn.Module):
    """Exponents over half - 1, as Transformer code in C order has them."""

    def __init__(self, dim, theta=10000):
        super().__init__()
        self.dim, self.theta = dim, theta

    def forward(self, x):
        half = self.dim // 2
        rates = torch.exp(torch.arange(half, device=x.device) * -math.log(self.theta) / (half - 1))
        angles = x[:, None] * rates[None, :]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SinusoidalPositionEmbeddings(nn.Module):
    """The same by its time."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, time):
        half = self.dim // 2
        step = math.log(10000) / (half - 1)
        angles = time[:, None] * torch.exp(torch.arange(half) * -step)[None]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


def timestep_embedding(timesteps, dim, max_period=10000):
    """Cosines first, any width."""
    half = dim // 2
    powers = torch.arange(half, dtype=torch.float32) / half
    angles = timesteps[:, None].float() * torch.exp(-math.log(max_period) * powers)[None]
    rows = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    return torch.cat([rows, torch.zeros_like(rows[:, :1])], dim=-1) if dim % 2 else rows


def get_timestep_embedding(timesteps, embedding_dim):
    """Sines first, for a batch of numbers alone."""
    assert timesteps.ndim == 1
    half = embedding_dim // 2
    angles = timesteps.float().outer(10000.0 ** (-torch.arange(half) / (half - 1)))
    return torch.hstack([angles.sin(), angles.cos()])


class PositionalEncoding(nn.Module):
    """A table, looked up."""

    def __init__(self, max_time_steps, embedding_size, n=10000):
        super().__init__()
        angles = torch.arange(max_time_steps)[:, None] / n ** (
            torch.arange(0, embedding_size, 2) / embedding_size
        )
        self.table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    def forward(self, t):
        return self.table[t]


class PositionalEncodingOfSequences(nn.Module):
    """Of a Transformer: added to a sequence (b, place, width)."""

    def __init__(self, d_model, dropout=0.1, max_len=2000):
        super().__init__()
        place = torch.arange(max_len).unsqueeze(1)
        rate = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        rows = torch.zeros(1, max_len, d_model)
        rows[0, :, 0::2], rows[0, :, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("rows", rows)

    def forward(self, x):
        return self.dropout(x + self.rows[:, : x.size(1)])


class UNet(nn.Module):
    """A network with the embedding as a method, for t (b, 1)."""

    def __init__(self, channels=3, time_dim=32):
        super().__init__()
        self.time_dim = time_dim
        self.into, self.out = (
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.Conv2d(32, channels, 3, padding=1),
        )
        self.time = nn.Linear(time_dim, 32)

    def pos_encoding(self, t, channels):
        rate = 1.0 / (10000 ** (torch.arange(0, channels, 2).float() / channels))
        angles = t.repeat(1, channels // 2) * rate
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, x, t):
        row = self.pos_encoding(t.unsqueeze(-1).float(), self.time_dim)
        return self.out(torch.relu(self.into(x) + self.time(row)[:, :, None, None]))


def sinusoidal_embedding(n, d):
    """A table of n rows, sines and cosines by turns."""
    rows, place = torch.zeros(n, d), torch.arange(n).reshape(n, 1)
    rate = torch.tensor([1 / 10000 ** (2 * j / d) for j in range(d // 2)])
    rows[:, ::2], rows[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return rows


class Timesteps(nn.Module):
    """Both orders and both exponents by its arguments, which have no default."""

    def __init__(self, num_channels, flip_sin_to_cos, downscale_freq_shift):
        super().__init__()
        self.width, self.flip, self.shift = num_channels, flip_sin_to_cos, downscale_freq_shift

    def forward(self, timesteps):
        half = self.width // 2
        rate = torch.exp(-math.log(10000) * torch.arange(half) / (half - self.shift))
        parts = [(timesteps[:, None] * rate).sin(), (timesteps[:, None] * rate).cos()]
        return torch.cat(parts[::-1] if self.flip else parts, dim=-1)


class PositionalEmbedding(nn.Module):
    """Its frequencies take the dtype of what it is given: right for floats alone."""

    def __init__(self, num_channels, max_positions=10000):
        super().__init__()
        self.num_channels, self.max_positions = num_channels, max_positions

    def forward(self, x):
        powers = torch.arange(self.num_channels // 2) / (self.num_channels // 2)
        angles = x.ger(((1 / self.max_positions) ** powers).to(x.dtype))
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimestepEmbedder(nn.Module):
    """Layers above a static method: the method is judged."""

    def __init__(self, hidden_size, frequency_embedding_size=256):
        super().__init__()
        self.width = frequency_embedding_size
        self.mlp = nn.Sequential(nn.Linear(self.width, hidden_size), nn.SiLU())

    @staticmethod
    def timestep_embedding(t, dim, max_period=10000):
        return timestep_embedding(t, dim, max_period)

    def forward(self, t):
        return self.mlp(self.timestep_embedding(t, self.width))


class SinusoidalEmbeddings(nn.Module):
    """Looked up, with the axes of pictures; the picture says the device alone."""

    def __init__(self, time_steps, embed_dim):
        super().__init__()
        self.rows = sinusoidal_embedding(time_steps, embed_dim)

    def forward(self, x, t):
        return self.rows[t].to(x.device)[:, :, None, None]


def time_embedding(t, dim=64):
    """Slower: period 1000, and a width by default."""
    angles = t[:, None] * 1000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    return torch.cat([angles.sin(), angles.cos()], 1)


class GaussianFourierProjection(nn.Module):
    """Random frequencies: another kind."""

    def __init__(self, embed_dim, scale=30.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(embed_dim // 2) * scale, requires_grad=False)

    def forward(self, x):
        angles = x[:, None] * self.weight[None] * 2 * math.pi
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeEmbedding(nn.Module):
    """Two layers above sinusoids: learned."""

    def __init__(self, n_channels):
        super().__init__()
        self.n_channels = n_channels
        self.first = nn.Linear(n_channels // 4, n_channels)
        self.second = nn.Linear(n_channels, n_channels)

    def forward(self, t):
        rows = get_timestep_embedding(t, self.n_channels // 4)
        return self.second(torch.nn.functional.silu(self.first(rows)))


def odd_sinusoidal_embedding(n, d):
    """Wrong: the cosines go by odd numbers, and have frequencies of their own."""
    rows, place = torch.zeros(n, d), torch.arange(n).reshape(n, 1)
    rate = 10000.0 ** (-torch.arange(d) / d)
    rows[:, ::2], rows[:, 1::2] = torch.sin(place * rate[::2]), torch.cos(place * rate[1::2])
    return rows


class TimestepEmbedding(nn.Module):
    """Wrong: even and odd rows, which are images, for even and odd entries."""

    def __init__(self, embed_dim):
        super().__init__()
        self.embed_dim = embed_dim

    def forward(self, time_steps):
        d = self.embed_dim
        rows = time_steps[:, None] * 10000.0 ** (2 * torch.arange(d) / d)
        rows[0::2], rows[1::2] = rows[0::2].sin(), rows[1::2].cos()
        return rows


class SinusoidalTimeEmbedding(nn.Module):
    """Wrong: no exp, so that the exponents themselves are the frequencies."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, t):
        half = self.dim // 2
        angles = t[:, None] * (torch.arange(half) * -math.log(10000) / half)[None]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def get_time_embedding(time_steps, temb_dim):
    """Wrong: sines twice."""
    factor = 10000 ** (torch.arange(temb_dim // 2) / (temb_dim // 2))
    angles = time_steps[:, None] / factor
    return torch.cat([angles.sin(), angles.sin()], dim=-1)


class SinusoidalPositionEmbedding(nn.Module):
    """Wrong: the minus sign is gone, and the frequencies rise."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, noise_level):
        half = self.dim // 2
        angles = noise_level[:, None] * torch.exp(math.log(10000) * torch.arange(half) / half)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def embed_timestep(t, dim):
    """Wrong: t / T goes into frequencies that are made for 0..1000."""
    return timestep_embedding(t / 1000, dim)

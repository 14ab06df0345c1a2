"""How fast the noise grows: betas of every family, and their alpha-bars."""

import math

import torch
from torch import Tensor

from compare.oracle.setting import F64, Setting


def betas(setting: Setting) -> Tensor:
    """(T,) betas of a named family, before any rescaling to zero terminal SNR.

    >>> betas(Setting(num_train_timesteps=3)).tolist()
    [0.0001, 0.01005, 0.02]
    """
    T, start, end = setting.num_train_timesteps, setting.beta_start, setting.beta_end
    if setting.trained_betas is not None:
        return torch.tensor(setting.trained_betas, dtype=F64)
    if setting.beta_schedule == "linear":
        return torch.linspace(start, end, T, dtype=F64)
    if setting.beta_schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, T, dtype=F64) ** 2
    if setting.beta_schedule == "sigmoid":
        return torch.linspace(-6, 6, T, dtype=F64).sigmoid() * (end - start) + start
    if setting.beta_schedule == "squaredcos_cap_v2":
        return cosine_betas(T)
    raise ValueError(f"beta_schedule={setting.beta_schedule!r} is unknown to the oracle")


def cosine_betas(T: int, s: float = 0.008, power: float = 2, cap: float = 0.999) -> Tensor:
    """1 - f(t+1)/f(t) with f = cos^2((t/T + s)/(1 + s) pi/2), at most `cap`: N&D eq. 17."""
    u = torch.arange(T + 1, dtype=F64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos().clamp(min=0) ** power
    return (1 - f[1:] / f[:-1]).clamp(max=cap)


def table(betas: Tensor) -> Tensor:
    """alpha_bar_t = product of 1 - beta_s for s = 0..t: below Ho et al. eq. 3."""
    return torch.cumprod(1 - betas, dim=0)


def before(setting: Setting) -> float:
    """alpha_bar before the first step, with which the product begins: 1, there is no noise yet."""
    return 1.0


def zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """sqrt(alpha_bar) shifted to end at 0 and scaled to start where it did: Lin et al. alg. 1."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2

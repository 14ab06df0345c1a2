"""How fast the noise grows: the variances beta_t of the forward process.

Every function returns `betas`, a float64 tensor (T,) in (0, 1), indexed by t = 0..T-1. The papers
count 1..T: their beta_1 is our `betas[0]`, and t = 0 means *one* step of noise. From beta follow
`alpha = 1 - beta` and `alpha_bar = cumprod(alpha)` (Ho et al. 2020, arXiv:2006.11239, Section 2).
"""

import math
from typing import Literal

import torch

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]


def linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """beta_t on a straight line from `beta_start` to `beta_end` (Ho et al. 2020, Section 4).

    Args:
        num_train_timesteps: T, at least 1.
        beta_start, beta_end: beta at t = 0 and at t = T-1, in (0, 1).

    Returns:
        betas: (T,) float64.

    >>> linear(3, 0.1, 0.3)
    tensor([0.1000, 0.2000, 0.3000], dtype=torch.float64)
    """
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)


def scaled_linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """sqrt(beta_t) on a straight line: the schedule of latent diffusion.

    Source: the code of Rombach et al. 2022 (arXiv:2112.10752); the paper has no equation for it.

    Args:
        num_train_timesteps: T, at least 1.
        beta_start, beta_end: beta at t = 0 and at t = T-1, in (0, 1).

    Returns:
        betas: (T,) float64.

    >>> scaled_linear(3, 0.01, 0.09)
    tensor([0.0100, 0.0400, 0.0900], dtype=torch.float64)
    """
    return linear(num_train_timesteps, beta_start**0.5, beta_end**0.5) ** 2


def cosine(num_train_timesteps: int, max_beta: float = 0.999) -> torch.Tensor:
    """beta_t from alpha_bar_t = f(t) / f(0), f(t) = cos((t/T + s) / (1 + s) * pi/2)^2, s = 0.008.

    beta_t = min(1 - alpha_bar_t / alpha_bar_{t-1}, max_beta): without the cap the last beta is 1
    and x_0 would be divided by zero.

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), equation 17 and the text below it.

    Args:
        num_train_timesteps: T, at least 1.
        max_beta: the cap, below 1.

    Returns:
        betas: (T,) float64.

    >>> cosine(3)
    tensor([0.2571, 0.6683, 0.9990], dtype=torch.float64)
    """
    s = 0.008

    def f(time: float) -> float:
        return math.cos((time + s) / (1 + s) * math.pi / 2) ** 2

    T = num_train_timesteps
    betas = [min(1 - f((t + 1) / T) / f(t / T), max_beta) for t in range(T)]
    return torch.tensor(betas, dtype=torch.float64)


def sigmoid(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """beta_t along a logistic curve, read from -6 to 6, between `beta_start` and `beta_end`.

    Source: the code of GeoDiff (Xu et al. 2022, arXiv:2203.02923). Other projects call a schedule
    "sigmoid" whose *alpha_bar* follows the logistic curve: not the same thing.

    Args:
        num_train_timesteps: T, at least 1.
        beta_start, beta_end: the ends that the curve comes near, in (0, 1).

    Returns:
        betas: (T,) float64.

    >>> sigmoid(3, 0.1, 0.3)
    tensor([0.1005, 0.2000, 0.2995], dtype=torch.float64)
    """
    logistic = torch.linspace(-6, 6, num_train_timesteps, dtype=torch.float64).sigmoid()
    return beta_start + (beta_end - beta_start) * logistic


def zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Move sqrt(alpha_bar) so that its last value is 0 and its first stays: x_T is pure noise.

    sqrt(alpha_bar_t) <- (sqrt(alpha_bar_t) - sqrt(alpha_bar_T))
                         * sqrt(alpha_bar_1) / (sqrt(alpha_bar_1) - sqrt(alpha_bar_T))

    Source: Lin et al. 2023 (arXiv:2305.08891), Algorithm 1.

    Args:
        betas: (T,) float64 in (0, 1), T > 1.

    Returns:
        betas: (T,) float64; the last one is exactly 1.

    >>> zero_terminal_snr(linear(3, 0.1, 0.3))
    tensor([0.1000, 0.6630, 1.0000], dtype=torch.float64)
    """
    sqrt_alpha_bar = (1 - betas).cumprod(0).sqrt()
    first, last = sqrt_alpha_bar[0].clone(), sqrt_alpha_bar[-1].clone()
    sqrt_alpha_bar = (sqrt_alpha_bar - last) * first / (first - last)
    alpha_bar = sqrt_alpha_bar**2
    alpha = alpha_bar.clone()
    alpha[1:] = alpha_bar[1:] / alpha_bar[:-1]
    return 1 - alpha

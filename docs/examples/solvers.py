"""DDIM as Euler's method, and two solvers of second order for the same network.

`eps_of(x_t, alpha_bar)` is the network, and `alpha_bars` are the levels that the chain visits, the
noisiest first; the last is 1, the finished picture. All three draw nothing.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

Network = Callable[[Tensor, float], Tensor]


def noise_per_signal(alpha_bar: float) -> float:
    """s = sqrt((1 - alpha_bar) / alpha_bar): the std of the noise on an unfaded picture."""
    return ((1 - alpha_bar) / alpha_bar) ** 0.5


def euler(eps_of: Network, x: Tensor, alpha_bars: Sequence[float]) -> Tensor:
    """DDIM with eta = 0: y = x / sqrt(alpha_bar) moves by (s_prev - s) eps."""
    for a, a_prev in pairwise(alpha_bars):
        s, s_prev = noise_per_signal(a), noise_per_signal(a_prev)
        y = x / a**0.5 + (s_prev - s) * eps_of(x, a)
        x = a_prev**0.5 * y
    return x


def heun(eps_of: Network, x: Tensor, alpha_bars: Sequence[float]) -> Tensor:
    """The slope is the mean of both ends' (Karras et al. 2022, Algorithm 1)."""
    for a, a_prev in pairwise(alpha_bars):
        s, s_prev = noise_per_signal(a), noise_per_signal(a_prev)
        slope = eps_of(x, a)
        y = x / a**0.5 + (s_prev - s) * slope
        if s_prev > 0:  # a finished picture has no noise to ask for
            there = eps_of(a_prev**0.5 * y, a_prev)
            y = x / a**0.5 + (s_prev - s) * (slope + there) / 2
        x = a_prev**0.5 * y
    return x


def dpm_solver_2m(eps_of: Network, x: Tensor, alpha_bars: Sequence[float]) -> Tensor:
    """DDIM with x_0 carried on by its last change (DPM-Solver++ 2M, Lu et al. 2022)."""
    before: tuple[Tensor, float] | None = None
    for a, a_prev in pairwise(alpha_bars):
        s, s_prev = noise_per_signal(a), noise_per_signal(a_prev)
        x_0 = (x - (1 - a) ** 0.5 * eps_of(x, a)) / a**0.5
        ahead = x_0
        if before is not None and s_prev > 0:
            h, h_before = math.log(s / s_prev), math.log(before[1] / s)
            ahead = x_0 + h / (2 * h_before) * (x_0 - before[0])
        before = (x_0, s)
        x = a_prev**0.5 * (s_prev / s * x / a**0.5 + (1 - s_prev / s) * ahead)
    return x

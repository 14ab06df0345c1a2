"""Laws of statistics of random draws: what is allowed of each at a stated rate of false alarms.

Under the right law a statistic is beyond its bound with probability `rate` at most, at every
sample size. The bounds are exact laws of normal draws, or inequalities that need no law: for
whatever is compared image by image with as many images of the oracle's, the difference is symmetric
about 0, so that its sum over its length is sub-Gaussian whatever the law is (Hoeffding 1963,
theorem 2, on the signs).
"""

from collections.abc import Callable
from functools import lru_cache
from math import log
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from compare.oracle import F64


def normal_bound(rate: float) -> float:
    """q with P(|N(0, 1)| > q) = rate.

    >>> round(normal_bound(0.05), 2)
    1.96
    """
    return -NormalDist().inv_cdf(rate / 2)


@lru_cache(1024)
def chi_square_bounds(n: float, rate: float) -> tuple[float, float]:
    """Between which the mean square of n draws of N(0, 1) lies: the exact quantiles.

    >>> low, high = chi_square_bounds(10_000, 1e-9)
    >>> round(low, 3), round(high, 3)
    (0.916, 1.089)
    """
    half = torch.tensor(n / 2, dtype=F64)

    def quantile(tail: Callable[[Tensor, Tensor], Tensor], far: float) -> float:
        """Between 1 and `far`, where a tail of the law is half of the rate, by bisection."""
        near = 1.0
        for _ in range(60):
            middle = (near + far) / 2
            larger = float(tail(half, half * middle)) > rate / 2
            near, far = (middle, far) if larger else (near, middle)
        return far

    beyond = 2 * (log(2 / rate) / n) ** 0.5 + 2 * log(2 / rate) / n  # Laurent & Massart 2000
    return quantile(torch.special.gammainc, 0.0), quantile(torch.special.gammaincc, 1 + beyond)


def of_mean(n: float, rate: float) -> float:
    """Allowed of |mean| of n draws of N(0, 1): its law is N(0, 1/n)."""
    return normal_bound(rate) * n**-0.5


def of_std(n: float, rate: float) -> float:
    """Allowed of |std - 1| of n draws of N(0, 1), about their mean: chi-square."""
    if n < 2:
        return float("inf")
    low, high = chi_square_bounds(n - 1, rate)
    return max(1 - low**0.5, high**0.5 - 1)


def of_distance(n: float, rate: float) -> float:
    """Allowed of `distance_to_normal` of n draws: Massart 1990.

    For half as many it is what Wei & Dudley 2012 allow two samples of n to be apart.
    """
    return (log(2 / rate) / (2 * n)) ** 0.5


def of_cosine(n: float, rate: float) -> float:
    """Allowed of |cosine| of the angle of n draws of N(0, 1) to any direction apart from them.

    Its square is Beta(1/2, (n-1)/2), whose tails beyond two standard errors are lighter than those
    of N(0, 1/n).
    """
    return min(of_mean(n, rate), 1.0)


def of_squares(scale: Tensor, shift: Tensor, each: int, rate: float) -> float:
    """Allowed deviation of the mean of (scale_i z + shift_i)^2, `each` z ~ N(0, 1) for every i.

    A quadratic form of normal draws is sub-gamma: Laurent & Massart 2000, lemma 1, with the linear
    term added to the variance.
    """
    n, x = scale.numel() * each, log(2 / rate)
    variance = each * float((2 * scale**4 + 4 * (scale * shift) ** 2).sum()) / n**2
    return (2 * variance * x) ** 0.5 + 2 * x * float(scale.square().max()) / n


def signs(difference: Tensor, rate: float) -> tuple[Tensor, float]:
    """|sum| / length of differences (n, ...) that are symmetric about 0, over the first axis."""
    length = difference.square().sum(0).sqrt().clamp(min=1e-300)
    return difference.sum(0).abs() / length, (2 * log(2 / rate)) ** 0.5


def kolmogorov_smirnov(a: Tensor, b: Tensor, rate: float) -> tuple[Tensor, float]:
    """The largest distance of two distribution functions, (k, n) and (k, n) -> (k,).

    Wei & Dudley 2012 (Statistics & Probability Letters 82), theorem 1: for two samples of the same
    size n >= 458 it exceeds d with probability 2 exp(-n d^2) at most.
    """
    n = a.shape[1]
    assert a.shape == b.shape
    assert n >= 458
    a, b = a.sort(dim=1).values, b.sort(dim=1).values
    at = torch.cat([a, b], dim=1)
    below = [torch.searchsorted(v, at, right=True).to(F64) / n for v in (a, b)]
    return (below[0] - below[1]).abs().amax(dim=1), (log(2 / rate) / n) ** 0.5


def distance_to_normal(z: Tensor) -> float:
    """The largest distance of a distribution function from that of N(0, 1)."""
    ordered = torch.from_numpy(np.sort(z.flatten().numpy())).to(F64)  # six times torch's speed
    n = len(ordered)
    normal = 0.5 * (1 + torch.erf(ordered / 2**0.5))
    step = torch.arange(n + 1, dtype=F64) / n
    off = torch.maximum((normal - step[:-1]).abs(), (normal - step[1:]).abs())
    return float(off.max())


def energy(a: Tensor, b: Tensor, rate: float) -> tuple[float, float]:
    """The energy distance of images (n, pixels) from disjoint pairs, over its own length.

    Exchanging the first images of a pair, one of `a` and one of `b`, changes its sign.
    """
    measured, allowed = signs(energy_of_pairs(a, b), rate)
    return float(measured), allowed


def energy_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """(n // 2,) with mean 2 E|A-B| - E|A-A'| - E|B-B'|, the energy distance of two laws.

    Szekely & Rizzo 2013 (Journal of Statistical Planning and Inference 143), in the linear form
    that Gretton et al. 2012 (JMLR 13), section 6, give to kernels.
    """
    n = len(a) // 2 * 2
    (a_1, a_2), (b_1, b_2) = (v[:n].unflatten(0, (n // 2, 2)).unbind(1) for v in (a, b))
    apart = (a_1 - b_2).norm(dim=1) + (a_2 - b_1).norm(dim=1)
    return apart - (a_1 - a_2).norm(dim=1) - (b_1 - b_2).norm(dim=1)

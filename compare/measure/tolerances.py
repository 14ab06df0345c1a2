"""How far a right implementation may be from the oracle, and why: one table for every check.

A float32 implementation rounds each alpha, each alpha-bar and each product once, by at most
u = 2^-24 of its size. What such a rounding does to a result depends on t: near t = 0 the noise
level 1 - alpha_bar is 1e-4, and one rounding of alpha_bar moves it by 6e-4 of itself. So the bounds
are propagated, in float64, through the very formula that is checked, and multiplied by `FACTOR`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from compare.measure.check import EXACT
from compare.oracle import UNIT, Level

HALF_UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
SMALLEST = 2.0**-126  # of float32 with all its digits
RATE = 1e-9  # of false alarms of one check that looks at random draws
FACTOR = 4.0  # a result passes through a handful of operations, each rounding once
NOTHING_LEFT = 0.05  # signal, 1/400 of the variance of x: less than the std of x_T can show


def once_in(rate: float) -> str:
    """A rate in words.

    >>> once_in(RATE)
    '1e-9'
    """
    return f"{rate:.0e}".replace("e-0", "e-")


class Tolerance(NamedTuple):
    """A quantity, its bound in words, and the reason for the bound."""

    quantity: str
    bound: str
    reason: str

    @property
    def why(self) -> str:
        """Bound and reason in one line."""
        return f"{self.bound}: {self.reason}"


TOLERANCES = {
    name: Tolerance(*row)
    for name, row in {
        "table": (
            "log-SNR of alpha_bar_t",
            "4 sum_{s<=t} (1 + 1/alpha_s) 2^-24, divided by 1 - alpha_bar_t",
            "one float32 rounding of each alpha and of each product up to t",
        ),
        "cosine": (
            "alpha_bar_t of a cosine taken in float32",
            "4 (1 + 2 a tan(a)) 2^-24 with the angle a of its cosine, beside that of the table",
            "one float32 rounding of the angle, which cos^2 makes 2 a tan(a) times as large",
        ),
        "betas": (
            "beta_t, which may be 1 - alpha_bar_t / alpha_bar_{t-1}",
            "4 (1 + beta_t) 2^-24; of a cosine also 1 - beta_t times the bounds of both its values",
            "one float32 rounding of beta and of 1 - beta, and of what a quotient is made of",
        ),
        "coefficient": (
            "a result elementwise",
            "4 (|change under one rounding of each alpha-bar| + 2^-24 sum of |terms|)",
            "one float32 rounding of each alpha-bar and of each operation, propagated at that t",
        ),
        "derived": (
            "a table that is derived from betas and alpha-bars",
            "4 (|change under one rounding of each beta and alpha-bar| + 2^-24 of its size)",
            "one float32 rounding of each; where no alpha-bar is shown, as many as its product has",
        ),
        "half": (
            "add_noise in float16, bfloat16",
            "4 times the unit roundoff of the dtype times the sum of |terms|",
            "coefficients are rounded to the dtype once, and so is the result",
        ),
        "waves": (
            "sin and cos of an angle a = t f, f = 1 / period at the least",
            "4 (1 + a (1 + ln period)) 2^-24; of a table as such 2 (1 + a (1 + |ln f|)) 2^-8",
            "float32 rounds log f, at most ln period, which moves f by as much of itself, then f, "
            "the product and the sine; in bfloat16 it is another precision, not another table",
        ),
        "exact": ("integers, masks", "0", EXACT),
        "count": ("whether every t is drawn", "0 missed", f"missed by chance: {once_in(RATE)}"),
        "law": (
            "a statistic of random draws",
            f"the quantile at {once_in(RATE)} of its law under the right formula, float32's share",
            f"false alarm {once_in(RATE)} a check; fewer than 1,000 such checks a run: at most "
            f"{once_in(1000 * RATE)}",
        ),
        "marginals": (
            "mean and std of x_t along a chain, by recursion",
            "the bounds of a_t, b_t, s_t carried through the recursion, in float64",
            "each coefficient may be off by its float32 bound at every step, all one way",
        ),
        "chain": (
            "what the steps of a walked chain leave after their means, over sigma",
            f"the exact quantile at {once_in(RATE)}, shared among what is looked at, and float32's "
            "share",
            "normal draws, so sums and mean squares have known laws: false alarm "
            f"{once_in(RATE)} a check",
        ),
        "two samples": (
            "the end of a walked chain against that of the oracle's own chain",
            f"a concentration bound at {once_in(RATE)}, shared among what is looked at",
            "holds for every law and sample size (measure/law.py): false alarm "
            f"{once_in(RATE)} a check",
        ),
        "unet": (
            "outputs of two networks with the same weights",
            "1e-5 of the largest entry; gradients 1e-3",
            "float32 sums of up to 10^4 products in another order",
        ),
        "training": (
            "losses and weights after 50 steps",
            "losses 2e-5 of their size; weights sum over steps of lr min(2, delta / sqrt(v))",
            "delta, 1e-3 of a tensor's largest gradient, is rounding; Adam divides it by sqrt(v)",
        ),
        "pictures": (
            "whole chains",
            "1e-4 in [0, 1] and one grey level",
            "float64 tables against float32 ones cost 3.6e-5 over 500 steps",
        ),
    }.items()
}


def log_snr(alpha_bar: Tensor) -> Tensor:
    """log(alpha_bar / (1 - alpha_bar)), so that both ends of the chain count."""
    return alpha_bar.log() - (-alpha_bar).log1p()


def as_none(alpha_bar: Tensor, right: Tensor) -> Tensor:
    """The same, 0 where it should be 0 and is what float32 makes of cos^2(pi/2), whose angle is
    rounded; and as it should be where float32 has fewer digits left for it, or none."""
    rounded = (right == 0) & (alpha_bar < (FACTOR * UNIT) ** 2)
    underflows = (right < SMALLEST) & (alpha_bar < 2 * SMALLEST)
    return torch.where(rounded | underflows, right, alpha_bar)


def table_bound(alpha_bar: Tensor) -> Tensor:
    """Allowed relative error of alpha_bar_t, (T,)."""
    alpha = alpha_bar / torch.cat([torch.ones(1, dtype=alpha_bar.dtype), alpha_bar[:-1]])
    return FACTOR * UNIT * torch.cumsum(1 + 1 / alpha.clamp(min=1e-12), dim=0)


def cosine_bound(T: int) -> Tensor:
    """(T,) relative error of f(t+1)/f(0), f = cos^2(a), a = ((t + 1)/T + 0.008)/1.008 pi/2.

    An error e of the angle moves log f by 2 tan(a) e. The last step ends at a = pi/2, where the cap
    on beta takes the place of the cosine: there the error is that of the step before.
    """
    u = torch.arange(1, T + 1, dtype=torch.float64).clamp(max=max(T - 1, 0)) / T
    angle = (u + 0.008) / 1.008 * math.pi / 2
    return FACTOR * UNIT * (1 + 2 * angle * angle.tan())


def betas_bound(betas: Tensor, table: Tensor | None = None) -> Tensor:
    """(T,) allowed deviation of betas; `table` is the relative error of alpha-bars that they may be
    quotients of."""
    off = FACTOR * UNIT * (1 + betas)
    if table is None:
        return off
    before = torch.cat([torch.zeros(1, dtype=table.dtype), table[:-1]])
    return off + (1 - betas) * (table + before)


def propagated(formula: Callable[[Level], Tensor], level: Level, terms: Tensor) -> Tensor:
    """Allowed deviation of `formula(level)`; `terms` is the sum of its absolute terms."""
    found = formula(level.rounded)
    if found.dim() <= level.alpha_bar.dim():  # no alpha-bar is read
        return FACTOR * UNIT * terms
    change = (found[1:] - found[0]).abs().sum(dim=0)
    return FACTOR * (change + UNIT * terms)


def by_angle(table: Tensor) -> Tensor:
    """(T,) alpha-bars that are squares of cosines, moved by the rounding of their angles: much of a
    signal that is nearly 0, where the angle is nearly pi/2."""
    inside = table.clamp(0, 1)
    angle = torch.atan2((1 - inside).sqrt(), inside.sqrt())
    return table + ((angle * (1 - UNIT)).cos() ** 2 - angle.cos() ** 2)


def propagated_table(formula: Callable[[Tensor], Tensor], table: Tensor, terms: Tensor) -> Tensor:
    """The same for a formula of the whole alpha-bar table, or of neighbours in it."""
    moved = torch.minimum(table * (1 + 2 * UNIT), table.clamp(min=1 - 1e-16))
    every_other = torch.where(torch.arange(len(table)) % 2 == 0, moved, table)
    value = formula(table)
    others = (formula(other) - value for other in (moved, every_other, by_angle(table)))
    change = torch.stack([other.abs() for other in others]).sum(dim=0)
    return FACTOR * (change + UNIT * terms)

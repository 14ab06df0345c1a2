"""The second half of an output of twice the channels: the v of a learned variance, and its range.

A step's variance is exp(v log beta + (1 - v) log beta-tilde) (Nichol & Dhariwal eq. 15), with v as
the model returns it, or, as in their code, with (v + 1) / 2. Which, the sizes of the noise say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.replay import Drawn

SMALLEST = -1.0  # the v that stands for beta-tilde where (v + 1) / 2 is what counts
VALUES = (-1.0, 0.0, 0.5, 1.0)  # three of each of the ranges that it may have
SAME = 1e-3  # of a ratio of two sizes: far above rounding, far below that of another reading
NOISY = 0.01  # 1 - alpha-bar: below it float32 tables move such a ratio


@dataclass(frozen=True)
class Learned:
    """What the second half of the output does.

    Attributes:
        lower: the v that stands for beta-tilde; that for beta is 1.
        used: the noise depends on v.
        known: as it should in one of the two ranges, or not at all.
        v: (n,) from lower to 1.
        some: (k,) calls after which the noise was looked at.
        sizes, error: (n, k) of that noise, and the standard errors of it.
    """

    lower: float
    used: bool
    known: bool
    v: Tensor
    some: Tensor
    sizes: Tensor
    error: Tensor

    @property
    def words(self) -> str:
        """What it is taken for."""
        return f"the second a v of {self.lower:g} to 1" if self.used else "the second is not used"

    @property
    def of_range(self) -> Tensor:
        """(n,) v as it is where it goes from -1 to 1."""
        return self.v if self.lower == SMALLEST else 2 * self.v - 1


def look(drawn_at: Callable[[float], Drawn | None], noise: Tensor) -> Learned | None:
    """What a loop makes of v; None where its noise cannot be replayed.

    Args:
        drawn_at: what the loop draws where the second half is this number.
        noise: (calls + 1,) float64 1 - alpha-bar at each call, 0 after the last.

    Raises:
        Broken: v is taken for the logarithm of the variance.
    """
    seen = [drawn_at(v) for v in VALUES]
    drawn = [each for each in seen if each is not None]
    if len(drawn) < len(VALUES) or any(not torch.equal(e.some, drawn[0].some) for e in drawn):
        return None
    some, v = drawn[0].some, torch.tensor(VALUES, dtype=noise.dtype)
    sizes = torch.stack([each.weights[:, 2].abs() for each in drawn])
    error = torch.stack([each.error[:, 2] for each in drawn])
    clear = (noise[some + 1] > NOISY) & (sizes > 0).all(dim=0)
    lower, used, known = SMALLEST, bool(clear.any()), False
    if used:
        grows = (sizes[-1] / sizes[0]).log()[clear]
        whole = (noise[some] / noise[some + 1]).log()[clear]  # of beta over beta-tilde
        off = 8 * (error / sizes)[[0, -1]].sum(dim=0)[clear]
        if _meet(grows, torch.ones_like(grows), off):
            words = "takes half of its model's output for the logarithm of the variance"
            raise Broken(f"sample {words}: a loop is judged with a v between its two ends")
        used = not _meet(grows, 0 * grows, off)
        lower = 0.0 if used and _meet(grows, whole, off) else SMALLEST
        known = not used or lower == 0 or _meet(grows, whole / 2, off)
    kept = v >= lower
    return Learned(lower, used, known, v[kept], some, sizes[kept], error[kept])


def _meet(grows: Tensor, wanted: Tensor, off: Tensor) -> bool:
    return bool(((grows - wanted).abs() <= off + SAME * (wanted.abs() + SAME)).all())

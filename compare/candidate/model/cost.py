"""How a loss counts errors: squared, absolute, or as Huber; and by how much of their mean."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.oracle import F64

HEIGHTS = (1 / 32, 1 / 8, 1 / 2, 2.0, 8.0)  # of errors that are the same everywhere
DIGITS, EXACT = 6, 1e-5  # of a factor that a person writes; how near to it, relative


@dataclass(frozen=True)
class Cost:
    """A loss is `factor` times the mean of `phi` of the errors.

    Attributes:
        kind: `"square"`, `"absolute"` or `"huber"`, which is e^2 / 2 up to delta, then
            delta (|e| - delta / 2).
        delta: of Huber's.
        factor: 1 for the mean.
    """

    kind: str = "square"
    delta: float = 0.0
    factor: float = 1.0

    def phi(self, error: Tensor) -> Tensor:
        """What each error costs.

        >>> [Cost(kind, 1.0).phi(torch.tensor(2.0)).item() for kind in ("square", "huber")]
        [4.0, 1.5]
        """
        if self.kind == "square":
            return error.square()
        size = error.abs()
        if self.kind == "absolute":
            return size
        return torch.where(
            size < self.delta, size.square() / 2, self.delta * (size - self.delta / 2)
        )

    def at(self, error: float) -> float:
        """The same of one number."""
        return float(self.phi(torch.tensor(error, dtype=F64)))

    def slope(self, size: float) -> float:
        """How much more an error of this size costs if it is a little larger, at most."""
        return {"square": 2 * size, "absolute": 1.0}.get(self.kind, self.delta)

    @property
    def words(self) -> str:
        """Its kind, in words."""
        huber = f"Huber's, of delta = {self.delta:.4g}"
        return {"square": "squared", "absolute": "absolute (L1)"}.get(self.kind, huber)


def read(costs: Tensor, error: float, rounded: float) -> Cost | None:
    """How errors of `HEIGHTS` were counted, at one seed and so with the same weights; None if it is
    none of the three.

    Args:
        costs: (heights,) the losses.
        error: how far from its height each error may be.
        rounded: how far off a sum over a batch may be, relative.

    >>> read(3 * torch.tensor(HEIGHTS) ** 2, 1e-6, 1e-6)
    Cost(kind='square', delta=0.0, factor=3.0)
    """
    for kind in (Cost(), Cost("absolute"), *_hubers(costs)):
        right = torch.tensor([kind.at(height) for height in HEIGHTS], dtype=F64)
        factor = float(costs[-1]) / float(right[-1])
        slope = torch.tensor([kind.slope(height + error) for height in HEIGHTS], dtype=F64)
        allowed = factor * (slope * error + kind.at(error) + rounded * right)
        allowed = allowed + right * float(allowed[-1] / right[-1])
        if factor > 0 and bool(((costs.to(F64) - factor * right).abs() <= allowed).all()):
            is_one = abs(factor - 1) <= float(allowed[-1] / right[-1])
            return replace(kind, factor=1.0 if is_one else _written(factor))
    return None


def read_beside(costs: Tensor, bare: float, rounded: float) -> Cost | None:
    """The same where a target is off by less than the two largest heights: an absolute loss is
    read, as it is as large as those there.

    Args:
        costs: (heights,) what they add to the loss `bare` of a perfect model.
        bare: that loss.
        rounded: how far off a sum over a batch may be, relative.

    >>> costs = torch.tensor([0.0, 0.02, 0.3, 1.8, 7.8], dtype=F64)
    >>> read_beside(costs, 0.2, 1e-6), read_beside(costs, 0.3, 1e-6)
    (Cost(kind='absolute', delta=0.0, factor=1.0), None)
    >>> read_beside(costs * torch.nan, torch.nan, 1e-6)
    """
    near, far = (costs[-2:] + bare).tolist()
    factor = far / HEIGHTS[-1]
    if not (bare > 0 and abs(near - factor * HEIGHTS[-2]) <= 4 * rounded * far):  # NaN fits none
        return None
    is_one = abs(factor - 1) <= 4 * rounded
    return Cost("absolute", factor=1.0 if is_one else _written(factor))


def _hubers(costs: Tensor) -> list[Cost]:
    """The one of Huber's that costs what it does at the two largest heights, if there is one.

    c delta (h - delta / 2) is linear: its slope and its zero are seen.
    """
    (near, far), (low, high) = HEIGHTS[-2:], costs[-2:].tolist()
    slope = (high - low) / (far - near)
    if slope <= 0:
        return []
    delta = 2 * (far - high / slope)
    deltas = [round(delta, decimals) for decimals in (1, 2, 3)]
    return [Cost("huber", each) for each in (*deltas, delta) if 0 < each <= near]


def _written(value: float) -> float:
    """The number of fewest digits that is as good as exact."""
    numbers = (float(f"{value:.{digits}g}") for digits in range(1, DIGITS + 1))
    return next((n for n in numbers if abs(n - value) <= EXACT * value), value)

"""Laws on a line whose exact network is known: two humps, three, or points.

from exact_laws import Humps

law = Humps((0.7, 0.3), (-0.5, 0.6), (0.15, 0.1))
eps = law.eps(x_t, alpha_bar)  # what a perfect network would say
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Humps:
    """A mixture of Gaussians: x_0 is drawn from hump k with probability `weights[k]`.

    Args:
        weights: (k,) positive numbers with sum 1.
        means: (k,).
        stds: (k,) at least 0; a hump of std 0 is a point.
    """

    def __init__(
        self, weights: Sequence[float], means: Sequence[float], stds: Sequence[float]
    ) -> None:
        columns = (weights, means, stds)
        self.weights, self.means, self.stds = (
            torch.tensor(c, dtype=torch.float64) for c in columns
        )

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) float64 values of x_0."""
        hump = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, generator=generator, dtype=torch.float64)
        return self.means[hump] + self.stds[hump] * z

    def _noisy(self, alpha_bar: float | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (..., k) of x_t in each hump."""
        a = torch.as_tensor(alpha_bar, dtype=torch.float64)[..., None]
        return a**0.5 * self.means, a * self.stds**2 + 1 - a

    def density(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """q(x_t), like `x_t`; alpha_bar = 1 gives that of x_0."""
        mean, variance = self._noisy(alpha_bar)
        far = (x_t[..., None] - mean) ** 2 / variance
        return (self.weights * torch.exp(-far / 2) / (2 * torch.pi * variance) ** 0.5).sum(-1)

    # region: exact
    def x_0(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """E[x_0 | x_t], like `x_t`: each hump's best line, weighed by how likely the hump is."""
        a = torch.as_tensor(alpha_bar, dtype=torch.float64)[..., None]
        mean, variance = self._noisy(alpha_bar)  # of x_t in each hump
        far = x_t[..., None] - mean
        log_density = -(far**2) / (2 * variance) - variance.log() / 2
        likely = torch.softmax(self.weights.log() + log_density, dim=-1)
        line = self.means + a**0.5 * self.stds**2 / variance * far
        return (likely * line).sum(-1)

    def eps(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """E[eps | x_t], like `x_t`."""
        a = torch.as_tensor(alpha_bar, dtype=torch.float64)
        return (x_t - a**0.5 * self.x_0(x_t, a)) / (1 - a) ** 0.5

    # endregion: exact

    def share_below(self, x_t: Tensor, alpha_bar: float | Tensor = 1.0) -> Tensor:
        """The probability that x_t is smaller, in [0, 1], like `x_t`."""
        mean, variance = self._noisy(alpha_bar)
        return (self.weights * torch.special.ndtr((x_t[..., None] - mean) / variance**0.5)).sum(-1)

    def quantile(self, share: Tensor) -> Tensor:
        """The x_0 below which `share` of the law lies: `share_below`, the other way round."""
        low, high = torch.full_like(share, -20), torch.full_like(share, 20)
        for _ in range(60):  # halves 40 to 3e-17
            middle = (low + high) / 2
            below = self.share_below(middle) < share
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

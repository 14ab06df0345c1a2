"""What the x_t that a loss gave the model is made of, by an oracle's q(x_t given x_0)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.loss.calls import HEIGHT
from compare.candidate.loss.look import Seen
from compare.oracle import F64, Oracle


@dataclass(frozen=True)
class Inside:
    """The images and the noise in what the model was given, by an oracle's coefficients."""

    signal: Tensor  # (images,) the coefficient of x_0 at each image's t
    level: Tensor  # (images,) and that of the noise
    bright: float
    dark: float
    allowed: float  # how far off those two may be
    noise: Tensor  # (images, pixels)
    third: Tensor  # (images,) 0, 1, 2: t in the lower, middle or upper third

    def is_range(self, scale: float, shift: float) -> bool:
        """True if the model sees noise added to scale x_0 + shift."""
        wanted = [scale * v + shift for v in (HEIGHT, -HEIGHT)]
        return max(abs(self.bright - wanted[0]), abs(self.dark - wanted[1])) <= self.allowed


def what_makes_x_t(oracle: Oracle) -> tuple[Any, ...]:
    """All of an oracle by which x_t is taken apart."""
    return oracle.add_noise, oracle.loss.scale, oracle.loss.shift


def look_inside(seen: Seen, table: Tensor, oracle: Oracle, errors: float, rounded: float) -> Inside:
    """Takes the x_t that the model was given apart, by the oracle's q(x_t given x_0).

    Args:
        seen: what calls of the loss showed.
        table: (T,) alpha-bars.
        oracle: whose add_noise it is.
        errors: how many standard errors the range of the images may be off.
        rounded: and how much by rounding.
    """
    every, one = torch.arange(len(table)), torch.ones(len(table), 1, 1, 1, dtype=F64)
    signal = oracle.add_noise(one, 0 * one, table, every).reshape(len(table))[seen.x_t]
    level = oracle.add_noise(0 * one, one, table, every).reshape(len(table))[seen.x_t]
    light = seen.signs > 0
    n, m = light.sum(dim=1), (~light).sum(dim=1)
    bright, dark = (seen.x * light).sum(dim=1) / n, (seen.x * ~light).sum(dim=1) / m
    # The centre of both, apart from a mean that the noise may have, and half of what is between:
    # sums over the images of (bright + dark) / 2 by `of_centre`, (bright - dark) / 2 by `of_half`.
    of_centre = torch.linalg.pinv(torch.stack([signal, level], dim=1))[0]
    of_half = signal / signal.square().sum()
    centre, half = of_centre @ (bright + dark) / 2, of_half @ (bright - dark) / 2
    up, down = ((of_centre + part).square() for part in (of_half, -of_half))
    variances = [(level / 2).square() @ (up / a + down / b) for a, b in ((n, m), (m, n))]
    allowed = errors * float(max(variances)) ** 0.5 + rounded
    high, low = float(centre + half), float(centre - half)
    inside = Inside(signal, level, high, low, allowed, seen.x, 3 * seen.x_t // len(table))
    if inside.is_range(oracle.loss.scale, oracle.loss.shift):  # then exactly
        high, low = (oracle.loss.scale * v + oracle.loss.shift for v in (HEIGHT, -HEIGHT))
    image = torch.where(light, high, low)
    noise = (seen.x - signal.reshape(-1, 1) * image) / level.reshape(-1, 1)
    return replace(inside, noise=noise)

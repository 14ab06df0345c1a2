"""The vector of a timestep: sinusoids of t, from fast to slow."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.oracle.setting import F64

Angles = tuple[Tensor, Tensor]  # (rows, columns) angles; bool, of that shape: a cosine, else a sine


@dataclass(frozen=True)
class Waves:
    """What right embeddings differ in: conventions.

    Attributes:
        cosine_first: cosines stand before sines.
        alternating: they stand in pairs, not in two halves.
        shift: exponents run from 0 to 1 if it is 1 (Ho et al.), else to just below 1.
        period: 1 / period is the frequency at exponent 1.
        scale: what t is multiplied by.
        T: the number of timesteps.
    """

    cosine_first: bool = False
    alternating: bool = False
    shift: int = 0
    period: float = 10000.0
    scale: float = 1.0
    T: int = 1000

    def frequencies(self, i: Tensor, half: int) -> Tensor:
        """Those of the waves of numbers i, of as many as half."""
        return self.scale * self.period ** (-i / (half - self.shift))

    def arranged(self, sines: Tensor, cosines: Tensor) -> Angles:
        """(b, half) angles of sines and of cosines, each in its place."""
        kinds = (torch.zeros_like(sines, dtype=torch.bool), torch.ones_like(cosines).bool())
        both = [(sines, cosines), kinds]
        turned = [pair[::-1] if self.cosine_first else pair for pair in both]
        if self.alternating:
            angle, cosine = (torch.stack(pair, dim=2).flatten(1) for pair in turned)
        else:
            angle, cosine = (torch.cat(pair, dim=1) for pair in turned)
        return angle, cosine


def numbers(dim: int) -> Tensor:
    """(dim // 2,) float64 0, 1, ... of the waves."""
    return torch.arange(dim // 2, dtype=F64)


def embedding(t: Tensor, dim: int, waves: Waves) -> Angles:
    """sin and cos of t period^(-i / (half - shift)), i = 0..half-1: Vaswani et al., section 3.5.

    Args:
        t: (b,) float64.
        dim: an even number.
        waves: the conventions.
    """
    angle = t[:, None] * waves.frequencies(numbers(dim), dim // 2)
    return waves.arranged(angle, angle)

"""How a loss trains a learned variance: its slope at v, of a model that knows x_0.

Its output is exact then, and the bound is the divergence of two normal laws of one mean: with
l = log beta - log beta-tilde and u the share of log beta in the logarithm of the variance, its
slope at u is l (1 - exp(-u l)) / 2, so 0 at beta-tilde (Nichol & Dhariwal, section 3.1).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.loss.calls import Loss, images_of, knowing
from compare.oracle import F64, LEARNED

SEEDS = range(500, 512)
SHARES = (0.0, 0.5, 1.0)  # of log beta in the logarithm of the variance
KINDS = ("learned_range", "learned_unit")
ALIKE = 1e-3  # of a slope: far above rounding, far below another formula's
ROUNDED = 2e-5  # of l: what float32 leaves of a difference of logarithms of about 10


@dataclass(frozen=True)
class Trained:
    """How the variance is trained.

    Attributes:
        at_all: the loss goes by v.
        kind: `"learned_range"` or `"learned_unit"`, a v from -1 or from 0 up to 1, where it is
            trained to that of q(x_prev given x_t, x_0); None where it is trained to something else.
    """

    at_all: bool
    kind: str | None = None


def trained(loss: Loss) -> Trained:
    """How a loss trains the variance, at those t > 0 that some calls draw; not known of one that
    raises as it goes backward."""
    try:
        seen = {v: _slopes(loss, v) for v in sorted({_v(k, u) for k in KINDS for u in SHARES})}
    except RuntimeError:
        return Trained(True)
    if not any(bool(slope.any()) for _, slope in seen.values()):
        return Trained(False)
    t = seen[1.0][0]
    for kind in KINDS:
        slopes = torch.stack([seen[_v(kind, share)][1] for share in SHARES])
        if _fits(slopes[:, t > 0], loss.table, t[t > 0]):
            return Trained(True, kind)
    return Trained(True)


def _v(kind: str, share: float) -> float:
    """The v that stands for this share: from that of beta-tilde up to 1."""
    return LEARNED[kind] + share * (1 - LEARNED[kind])


def _fits(slopes: Tensor, table: Tensor, t: Tensor) -> bool:
    """Whether slopes (shares, n) are, times one number, those of the bound."""
    noise, before = 1 - table[t], 1 - table[t - 1]
    apart = (noise / before).log()  # of log beta from log beta-tilde
    right = apart * -torch.expm1(-torch.tensor(SHARES, dtype=F64)[:, None] * apart)
    factor = (slopes * right).sum() / right.square().sum()
    allowed = factor.abs() * (ALIKE * right + ROUNDED * apart)
    return bool(factor > 0) and bool(((slopes - factor * right).abs() <= allowed).all())


def _slopes(loss: Loss, v: float) -> tuple[Tensor, Tensor]:
    """(n,) the t of every image, and (n,) the slope of the loss at this v of all its pixels."""
    loss, found = replace(loss, manner=replace(loss.manner, learned=v)), []
    x_0 = images_of(loss.manner.shape)
    for seed in SEEDS:
        model = loss.model(knowing(loss, x_0))
        model.halves = []
        with torch.enable_grad():
            value = loss.value(model, x_0, seed)
            half = model.halves[0]
            if half.grad is None and value.requires_grad:
                value.mean().backward()
        slope = torch.zeros_like(half) if half.grad is None else half.grad
        found.append((loss.times(model), slope.to(F64).flatten(1).sum(dim=1)))
    t, slope = (torch.cat(parts) for parts in zip(*found, strict=True))
    return t, slope

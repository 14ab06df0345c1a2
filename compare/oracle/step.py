"""The parts of a reverse step that every sampler is made of: level, x0-hat, size and noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from compare.oracle.setting import F64, UNIT, Setting

# {kind: a second half of the model's output, which stands for beta-tilde or a variance of e}
LEARNED = {"learned_range": -1.0, "learned_unit": 0.0, "learned": 1.0}


@dataclass(frozen=True)
class Level:
    """Where in the chain a step stands: `t`, the step before it in the list, and their alpha-bars.

    All are tensors of one shape that broadcasts against the sample; `prev` is -1 before the first.
    `before` is where the step stood that came before in the list (its `t` -1 where none did), for
    a sampler that remembers it. In a stack of several, the table and the alpha-bars have one more
    axis, the first.
    """

    table: Tensor
    t: Tensor
    prev: Tensor
    alpha_bar: Tensor
    alpha_bar_prev: Tensor
    before: "Level | None" = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Level":
        """The same places with every tensor but the table changed, such as in its shape."""
        names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
        before = None if self.before is None else self.before.map(change)
        return replace(self, before=before, **{name: change(getattr(self, name)) for name in names})

    def at(self, which: slice | Tensor) -> "Level":
        """Some of the places, along the first axis."""
        return self.map(lambda values: values[which])

    def read(self, t: Tensor) -> Tensor:
        """The alpha-bars of other steps than its own, of a shape as that of its `t`."""
        return self.table[..., t]

    @cached_property
    def rounded(self) -> "Level":
        """A stack: the same place as it is; with its alpha-bar off by a rounding error (1 stays 1);
        that of the step before; and every other entry of the table, which a mistake may read, with
        that of the step that came before."""
        table, ab, prev, before = self.table, self.alpha_bar, self.alpha_bar_prev, self.before
        rough = torch.where(torch.arange(len(table)) % 2 == 0, _nudged(table), table)
        if before is not None:
            was = before.alpha_bar
            before = replace(before, alpha_bar=torch.stack([was, was, was, _nudged(was)]))
        return replace(
            self,
            before=before,
            table=torch.stack([table, table, table, rough]),
            alpha_bar=torch.stack([ab, _nudged(ab), ab, ab]),
            alpha_bar_prev=torch.stack([prev, prev, _nudged(prev), prev]),
        )


def _nudged(alpha_bar: Tensor) -> Tensor:
    """An alpha-bar off by what float32 may make of it; one of 1 or more is none that is rounded."""
    moved = (alpha_bar * (1 + 2 * UNIT)).clamp(max=1 - 1e-16)
    return torch.where(alpha_bar < 1, moved, alpha_bar)


def level(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """Reads alpha_bar_t and alpha_bar of the previous step, which is 1 before the first."""
    first = 1.0 if setting.set_alpha_to_one else float(table[0])
    before = torch.where(prev >= 0, table[prev.clamp(min=0)], torch.tensor(first, dtype=F64))
    return Level(table, t, prev, table[t], before)


def x_0(prediction_type: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat from what the model returns: Ho et al. eq. 15; Salimans & Ho, appendix D."""
    signal, noise = level.alpha_bar.sqrt(), (1 - level.alpha_bar).sqrt()
    if prediction_type == "epsilon":
        return (x_t - noise * out) / signal
    if prediction_type == "v_prediction":
        return signal * x_t - noise * out
    return out


def limit(x_0: Tensor, setting: Setting) -> Tensor:
    """Clipping, or dynamic thresholding per image (Saharia et al. 2022, section 2.3).

    `x_0` is (..., b, pixels).
    """
    if setting.thresholding:
        s = torch.quantile(x_0.abs(), setting.dynamic_thresholding_ratio, dim=-1, keepdim=True)
        s = s.clamp(1, max(setting.sample_max_value, 1))
        return x_0.clamp(-s, s) / s
    if setting.clip_sample:
        return x_0.clamp(-setting.clip_sample_range, setting.clip_sample_range)
    return x_0


def std(variance_type: str, level: Level, out: Tensor | None = None) -> Tensor:
    """The standard deviation of a step: sqrt(beta), sqrt(beta-tilde), or the model's own.

    Ho et al. eq. 7 and section 3.2; a learned one is sigma of exp(0.5 log sigma^2), `out` the
    second half of what the model returns, or, where that is not said, the one of `LEARNED`.
    """
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    beta = 1 - ab / prev
    small = (1 - prev) / (1 - ab) * beta
    if variance_type in ("fixed_large", "fixed_large_log"):
        return beta.sqrt()
    if variance_type in LEARNED:
        return torch.exp(0.5 * log_variance(variance_type, beta, small, out))
    return small.clamp(min=0).sqrt()


def log_variance(kind: str, beta: Tensor, small: Tensor, out: Tensor | None) -> Tensor:
    """v log beta + (1 - v) log beta-tilde: N&D eq. 15, `small` the beta-tilde.

    v is (out + 1) / 2 in `learned_range` (as in their code), and out in `learned_unit`; of
    `learned` out is the logarithm of the variance itself.
    """
    out = torch.full_like(beta, LEARNED[kind]) if out is None else out
    if kind == "learned":
        return out + 0 * beta
    v = (out + 1) / 2 if kind == "learned_range" else out
    return v * beta.log() + (1 - v) * small.clamp(min=1e-20).log()


def noisy(level: Level) -> Tensor:
    """Noise is added while a previous step exists: Ho et al. algorithm 2, line 3."""
    return level.prev >= 0


def draw(shape: tuple[int, ...], generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    """z ~ N(0, 1): Ho et al. algorithm 2."""
    return torch.randn(shape, generator=generator, dtype=dtype)


def halves(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """What a model of twice the channels predicts, and what it says of the variance."""
    return first, second


def noise_of(z: Tensor, out: Tensor) -> Tensor:
    """What multiplies the standard deviation: the fresh z, whatever the model returned."""
    return z


def eps_from_x_0(x_t: Tensor, x_0: Tensor, level: Level) -> Tensor:
    """(x_t - sqrt(alpha_bar) x_0) / sqrt(1 - alpha_bar): Ho et al. eq. 4 solved for the noise."""
    return (x_t - level.alpha_bar.sqrt() * x_0) / (1 - level.alpha_bar).sqrt()


def finish(x_prev: Tensor, setting: Setting) -> Tensor:
    """Nothing is done to x_{t-1} itself."""
    return x_prev

"""What the half of twice the channels that is for the variance is taken for.

An option that says it is believed. Else it is the first of the oracle's kinds whose sizes, at early
steps and in mid-chain, have the ratios that are seen.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.door.reading import SAME
from compare.candidate.scheduler import Scheduler
from compare.measure.probe import SEED, SHAPE
from compare.measure.step import replayed
from compare.measure.tolerances import FACTOR, UNIT, propagated
from compare.oracle import F64, LEARNED, Level, Oracle, Setting

RIGHT = Oracle()
ASKED = (0.0, 0.25, 0.5, 0.75, 1.0)  # inside the range of every kind
ALIKE = 1e-3  # of a size, of a v: far above rounding, far below that of another reading
APART = 0.01  # log beta and log beta-tilde: nearer, float32 tables move a v between them


@dataclass(frozen=True)
class Sizes:
    """(steps, asked) the sizes of the noise, times that of z where it cannot be drawn again."""

    level: Level
    sizes: Tensor
    known: bool

    def fits(self, kind: str) -> bool:
        """True if they are to each other as those of this kind."""

        def formula(at: Level) -> Tensor:
            return RIGHT.std(kind, at, torch.tensor([ASKED], dtype=F64))

        right = formula(self.level)
        off = propagated(formula, self.level, right) / right + 64 * FACTOR * UNIT
        gap = (self.sizes / right).log()
        return bool(((gap - gap[-1, -1]).abs() <= off + off[-1, -1]).all())

    @property
    def are_alike(self) -> bool:
        """True if nothing changes them that is asked."""
        return bool((self.sizes - self.sizes[:, :1]).abs().max() <= ALIKE * self.sizes.max())

    @property
    def by_a_rule_of_their_own(self) -> bool:
        """True if they go by what is asked alone, whatever t; or by a v made of it in [0, 1]."""
        if bool(((self.sizes - self.sizes[-1]).abs() <= ALIKE * self.sizes[-1]).all()):
            return True
        low, high = (RIGHT.std(k, self.level).log() for k in ("fixed_small", "fixed_large"))
        clear = (high - low > APART).flatten()
        if not self.known or int(clear.sum()) < 2:
            return False
        v = ((self.sizes.log() - low) / (high - low))[clear]
        rises = bool((v.diff(dim=1) > 0).all())
        inside = bool(((v > -ALIKE) & (v < 1 + ALIKE)).all())
        return rises and inside and bool((v - v[:1]).abs().max() < 10 * ALIKE)


def read_learned(scheduler: Scheduler, setting: Setting) -> Setting:
    """The setting with the kind of variance that a step has whose model has twice the channels.

    It stays as it is where what is asked changes nothing. That there is a rule which is none of the
    known, and may be right, is kept with the subject: it is not judged.
    """
    subject, T = scheduler.subject, setting.num_train_timesteps
    steps = sorted({t for t in (1, 2, T // 8, T // 2) if 0 < t < T})
    if subject.door.output.value == SAME or not steps:
        return setting
    seen = _sizes(scheduler, steps)
    if seen.are_alike:
        return setting
    kind = next(filter(seen.fits, LEARNED), None)
    subject.own_variance = kind is None and seen.by_a_rule_of_their_own
    return replace(setting, variance_type=kind or "learned_range")


def _sizes(scheduler: Scheduler, steps: list[int]) -> Sizes:
    nothing = torch.zeros(SHAPE)

    def row(t: int, value: float) -> Tensor:
        said = torch.full(SHAPE, value)
        return scheduler.step(nothing, t, nothing, SEED, said=said).prev.flatten()

    at, prev = scheduler.near(steps)
    rows = torch.stack([torch.stack([row(int(t), v) for v in ASKED]) for t in at])
    z = replayed(rows[-1, -1:], RIGHT)
    sizes = rows.norm(dim=2) / (1.0 if z is None else z.norm())
    level = RIGHT.level(scheduler.alpha_bars(RIGHT), at, prev, scheduler.setting)
    return Sizes(level, sizes, z is not None)

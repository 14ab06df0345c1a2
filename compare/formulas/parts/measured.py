"""A step or the steps of a loop as they were measured: what x_t and the output weigh, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.formulas.atoms import Atoms, atoms
from compare.formulas.curves import BETA_TILDE, chosen_steps, rows, sizes
from compare.formulas.expressions import Expression, Monomial, Sum
from compare.measure.probe import Probe
from compare.measure.step import curves_of_mean, rows_of_mean
from compare.measure.tolerances import FACTOR, UNIT, propagated
from compare.oracle import KINDS, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME

ALONG = 1e-3  # how far the answers to a step's pixels may be from one factor


def other_kinds(scheduler: Scheduler) -> list[str]:
    """What else a model may predict, where nobody says what it does."""
    subject, own = scheduler.subject, scheduler.setting.prediction_type
    if "prediction_type" in subject.named or subject.door.prediction.rank == "declared":
        return []
    others = [kind for kind in KINDS if kind != own]
    if subject.kinds and subject.has("step"):  # of which a right loss may have left some
        left = {setting.prediction_type for setting in subject.kinds}
        return [kind for kind in others if kind in left]
    return others


@dataclass(frozen=True)
class Pair:
    """Two coefficients (k,), of x_t and of the model's output, and how far off each may be."""

    x: Tensor
    out: Tensor
    x_error: Tensor
    out_error: Tensor


@dataclass(frozen=True)
class Measured:
    """A step as it was measured.

    Attributes:
        setting: the sampler that it is read as, and what its model predicts.
        oracle: the right one, with the mistakes that are already found.
        level: (k, 1) where each of the k steps stands.
        step: what x_t and the output weigh in x_prev.
        own_x_0: what they weigh in x0-hat, if the candidate shows it.
        sigma: (k,) the size of its noise, where that can be read.
        betas: (T,) the candidate's own, if it has such.
        stride: (k,) T // n of the chain of each, where it stands in one of n steps.
    """

    setting: Setting
    oracle: Oracle
    level: Level
    step: Pair
    own_x_0: Pair | None = None
    sigma: Tensor | None = None
    betas: Tensor | None = None
    stride: Tensor | None = None

    @property
    def kind(self) -> str:
        """What the model predicts."""
        return self.setting.prediction_type

    @property
    def t(self) -> Tensor:
        """(k,)."""
        return self.level.t.flatten()

    @property
    def strided(self) -> bool:
        """Some steps are of shorter chains: they tell ab_prev from ab at t - 1."""
        return bool((self.level.prev != self.level.t - 1).any())

    @property
    def shown(self) -> bool:
        """The candidate shows x0-hat."""
        return self.own_x_0 is not None

    @cached_property
    def x_0(self) -> Pair:
        """What x_t and the output weigh in x0-hat, as the candidate shows it or as it should be."""
        return self.own_x_0 or _by(
            lambda x, out, at: self.oracle.x_0(self.kind, out, x, at), self.level
        )

    @cached_property
    def eps(self) -> Pair:
        """What they weigh in the noise of DDIM's direction."""
        oracle, kind = self.oracle, self.kind
        return _by(
            lambda x, out, at: oracle.ddim_eps(
                out, x, oracle.x_0(kind, out, x, at), at, self.setting
            ),
            self.level,
        )

    @property
    def share(self) -> float:
        """The eta of a DDIM step; 0 of a step whose mean has nothing of its noise's size."""
        return BY_NAME[self.setting.sampler].noise_in_mean(self.setting)

    @property
    def draws(self) -> bool:
        """It is DDIM's step with noise: the direction has less of the model's."""
        return self.share != 0

    @property
    def direction(self) -> Expression:
        """The right weight of the noise of DDIM's direction."""
        if not self.draws:
            return Monomial(1.0, {"1 - ab_prev": 0.5})
        less = Monomial(-1.0, {"sigma_t": 2})
        return Sum((Monomial(1.0, {"1 - ab_prev": 1}), less), root=True)

    @cached_property
    def atoms(self) -> Atoms:
        """What its coefficients may be made of.

        Among them is the sigma that its noise has, or should have where that cannot be read.
        """
        made = atoms(self.level, self.betas, self.stride)
        if not self.draws:
            return made
        right = BETA_TILDE.times(self.share, {})
        value, error = right.value(made), right.error(made)
        size = value if self.sigma is None else self.sigma.abs()
        return made.also("sigma_t", size, error / (FACTOR * UNIT * value).clamp(min=1e-300))


def measured(scheduler: Scheduler, oracle: Oracle, short: bool) -> Measured | None:
    """The curves of a step; None where they are none, as where a clip acts."""
    setting, seen = scheduler.setting, rows(scheduler, oracle, chosen_steps(scheduler), short)
    step = _weights(seen.probes)
    if step is None:
        return None
    shown = all(one.x_0_x is not None for one in seen.probes)
    return Measured(
        setting,
        oracle,
        seen.level,
        step,
        own_x_0=_shown(seen.probes) if shown else None,
        sigma=sizes(scheduler, oracle, seen),
        betas=scheduler.betas(),
        stride=seen.stride,
    )


def _weights(probes: list[Probe]) -> Pair | None:
    """a and b of x_prev = a x_t + b out, if every pixel shows the same."""
    found = []
    for one in probes:
        a, b = curves_of_mean(one)
        both, k = rows_of_mean(one), len(one.t)
        rounded = FACTOR * UNIT * one.zero.abs().amax(1)  # of the noise that is taken off
        for rest, value, factor in (
            (both[:k] - a[:, None] * one.x, one.x, a),
            (both[k:] - b[:, None] * one.out, one.out, b),
        ):
            along = ALONG * (1 + factor.abs()) * value.abs().amax(1)
            if bool((rest.abs().amax(1) > along + rounded).any()):
                return None
        x_error = (one.zero.abs() / one.x.abs()).mean(1) + a.abs()
        out_error = (one.zero.abs() / one.out.abs()).mean(1) + b.abs()
        found.append((a, b, FACTOR * UNIT * x_error, FACTOR * UNIT * out_error))
    return Pair(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _shown(probes: list[Probe]) -> Pair:
    """The same of the candidate's own x0-hat."""
    found = []
    for one in probes:
        assert one.x_0_x is not None
        assert one.x_0_out is not None
        assert one.x_0_zero is not None
        p = ((one.x_0_x - one.x_0_zero) / one.x).mean(1)
        q = ((one.x_0_out - one.x_0_zero) / one.out).mean(1)
        found.append((p, q, FACTOR * UNIT * p.abs(), FACTOR * UNIT * q.abs()))
    return Pair(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _by(formula: Callable[[Tensor, Tensor, Level], Tensor], level: Level) -> Pair:
    """The same of a formula (x, out, level) that is linear in x and out."""
    one = torch.ones_like(level.alpha_bar)

    def of_x(at: Level) -> Tensor:
        return formula(one, 0 * one, at) * one

    def of_out(at: Level) -> Tensor:
        return formula(0 * one, one, at) * one

    parts = [(part(level), propagated(part, level, part(level).abs())) for part in (of_x, of_out)]
    (x, x_error), (out, out_error) = ((v.flatten(), e.flatten()) for v, e in parts)
    return Pair(x, out, x_error, out_error)

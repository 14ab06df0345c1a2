"""A step whose model says the size of its noise: in the half of twice the channels for that.

Each pixel is told another v (or log-variance), so that a size for a whole image is seen too. On
zeros such a step leaves its noise; on an output and a picture, less that, its mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check
from compare.measure.probe import PIXELS, SEED, SHAPE, followers, output, picture, sizes, some_steps
from compare.measure.step import mean_bound, noise_row, rounding
from compare.measure.tolerances import propagated
from compare.measure.values import Place, values
from compare.oracle import F64, LEARNED, Inputs, Level, Oracle
from compare.oracle.samplers import BY_NAME

V = (-1.0, -0.75, -0.4, 0.0, 0.3, 0.6, 0.9, 1.0)
ASKED = {  # what the model says of the variance, pixel by pixel
    "learned_range": V,
    "learned_unit": tuple((v + 1) / 2 for v in V),
    "learned": (-2.0, -1.5, -1.0, -0.6, 0.2, 0.5, 0.8, 1.2),
}
TERMS = 16.0  # log beta and log beta-tilde, by which exp is rounded, for a beta of 1e-7 and more


@dataclass(frozen=True)
class Halved:
    """Answers of k steps of a chain of n, (k, 8) float64; `t`, `prev` and `at_size` (k, 1).

    `still` is the answer to zeros, `at_both` that to an output and a picture of `at_size`; both
    beside `said` (8,) for the variance.
    """

    n: int
    t: Tensor
    prev: Tensor
    said: Tensor
    still: Tensor
    at_both: Tensor
    at_size: Tensor

    @property
    def first(self) -> Tensor:
        """The model's output."""
        return self.at_size * output().to(F64)

    @property
    def x(self) -> Tensor:
        """The picture."""
        return self.at_size * picture().to(F64)


def learned(subject: Subject) -> dict[str, Scheduler]:
    """Those of a candidate whose model says the size of its noise, by an option or always."""
    sizes = BY_NAME[subject.setting.sampler].sizes(subject.setting)
    return subject.all_offered({kind: sizes[kind] for kind in sizes if kind in LEARNED})


def of_noise(
    id: str, scheduler: Scheduler, oracle: Oracle, n: int | None = None, prev: Tensor | None = None
) -> Iterator[Check]:
    """The noise of a step for every size that the model may say."""
    subject, T = scheduler.subject, scheduler.setting.num_train_timesteps
    few = n is None and subject.level == "quick" and scheduler.setting != subject.setting
    steps = tuple(some_steps(T)) if few else None
    seen = _halved(scheduler, _asked(scheduler), n, steps)
    level = _level(scheduler, oracle, seen, prev)
    z, off = noise_row(scheduler.subject, oracle)

    def formula(at: Level) -> Tensor:
        return _step(scheduler, oracle, seen, at, z, 0.0)

    def expected() -> tuple[Tensor, Tensor]:
        right = formula(level)
        slack = 1e-9 * z.abs() + off * right.abs()
        return right, propagated(formula, level, TERMS * right.abs()) + slack

    yield values(
        id,
        "the noise of a step, s_t z,",
        seen.still,
        expected,
        where=_where(seen),
        input=f"a model output of 0, and {_said(seen.said)} for the variance, in twice the "
        f"channels; {len(seen.t)} steps",
    )


def of_mean(id: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """What a step makes of the model's output and of x_t, where there are twice the channels."""
    T = scheduler.setting.num_train_timesteps
    said = 0.9 * _asked(scheduler).abs()  # the ends are for the noise
    seen = _halved(scheduler, said, None, tuple(some_steps(T, 16)))
    level, setting = _level(scheduler, oracle, seen), scheduler.setting
    z, _ = noise_row(scheduler.subject, oracle)

    def noise(at: Level) -> Tensor:
        both = _step(scheduler, oracle, seen, at, z, 0.0)
        return _step(scheduler, oracle, seen, at, z, 1.0) - both

    def expected() -> tuple[Tensor, Tensor]:
        right = noise(level)
        bound = mean_bound(oracle, seen.first, seen.x, None, level, setting)
        size = seen.still.abs() + right.abs()
        return right, bound + propagated(noise, level, size) + rounding(size)

    yield values(
        id,
        "what a step makes of x_t and of its model's output",
        seen.at_both - seen.still,
        expected,
        where=_where(seen),
        input=f"an output of twice the channels, {_said(seen.said)} for the variance; "
        f"{len(seen.t)} steps",
    )


def _asked(scheduler: Scheduler) -> Tensor:
    """(8,) float32 of its kind."""
    return torch.tensor(ASKED[scheduler.setting.variance_type], dtype=torch.float32)


def _step(
    scheduler: Scheduler, oracle: Oracle, seen: Halved, level: Level, z: Tensor, share: float
) -> Tensor:
    """A step on this share of the output and of the picture."""
    given = Inputs(share * seen.first, share * seen.x, level, scheduler.setting.unlimited)
    return oracle.learned_step(given, seen.said.to(F64), z)


def _level(scheduler: Scheduler, oracle: Oracle, seen: Halved, prev: Tensor | None = None) -> Level:
    setting = scheduler.setting
    if prev is None:
        prev = oracle.previous(seen.prev, seen.t, seen.n, setting)
    before = scheduler.before(seen.t, seen.n)
    return oracle.place(scheduler.alpha_bars(oracle), seen.t, prev, before, setting)


def _halved(
    scheduler: Scheduler, said: Tensor, n: int | None, steps: tuple[int, ...] | None = None
) -> Halved:
    """The candidate's answers on a chain of n steps, at some of them in one that is long."""

    def ask() -> Halved:
        visited = scheduler.visit(n)
        following, T = followers(visited), scheduler.setting.num_train_timesteps
        ts = [t for t in visited if steps is None or t in steps]
        at, prev = (torch.tensor(v).reshape(-1, 1) for v in (ts, [following[t] for t in ts]))
        size = sizes(scheduler, at).float()
        half, nothing = said.reshape(SHAPE), torch.zeros(SHAPE)
        answers = []
        for t, share in zip(ts, size, strict=True):
            out, x = (share * output()).reshape(SHAPE), (share * picture()).reshape(SHAPE)
            still = scheduler.alone(nothing, t, nothing, SEED, said=half).prev
            both = scheduler.alone(out, t, x, SEED, said=half).prev
            answers.append((still.reshape(PIXELS), both.reshape(PIXELS)))
        still, both = (torch.stack(each) for each in zip(*answers, strict=True))
        return Halved(n or T, at, prev, said, still, both, size.to(F64))

    key = ("learned", scheduler.key, tuple(said.tolist()), n, steps)
    found: Halved = scheduler.subject.remember(key, ask)
    return found


def _where(seen: Halved) -> Place:
    ts, said = seen.t.flatten().tolist(), seen.said.tolist()
    return lambda index: f"t={ts[index[0]]}, with {said[index[1]]:.2g} for the variance"


def _said(said: Tensor) -> str:
    return f"{float(said.min()):g} to {float(said.max()):g}"

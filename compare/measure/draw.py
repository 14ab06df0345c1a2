"""Large draws of single steps: the law of their noise, and where it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.measure.check import Check, note, within, yes_no
from compare.measure.noise import Statistic, has_right, reference, statistics
from compare.measure.probe import PIXELS, SHAPE, single, some_of_chain
from compare.measure.step import level_at, loud_noise, replayed_noise
from compare.measure.tolerances import FACTOR, UNIT, propagated
from compare.oracle import Level, Oracle

LARGE = (64, 4, 32, 32)
LARGER = (64, 4, 64, 64)  # where z is not replayed: its std is known to 0.4 %


@dataclass(frozen=True)
class Draws:
    """Noise of single calls on zeros: two calls on one generator, and another seed."""

    first: Tensor
    second: Tensor
    other: Tensor
    again: Tensor
    other_global: Tensor


def _draws(scheduler: Scheduler, shape: tuple[int, ...]) -> Draws:
    subject = scheduler.subject

    def ask() -> Draws:
        scheduler.visit(None)
        t, nothing = scheduler.middle, torch.zeros(shape)
        base = 1000 * subject.seed

        def call(seed: int | None, generator: torch.Generator | None = None) -> Tensor:
            seed = None if seed is None else base + seed
            return scheduler.alone(nothing, t, nothing, seed, generator=generator).prev.float()

        stream = torch.Generator().manual_seed(base + 5)
        first = call(5, stream)
        # Without a generator nothing is reseeded: the next numbers of the global stream.
        second = call(6, stream) if subject.draws_from_generator else call(None)
        same = torch.Generator().manual_seed(base + 5)
        return Draws(first, second, call(9), call(5), call(77, same))

    return subject.remember(("draws", scheduler.key, shape), ask)


def law_of_step(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """N(0, 1), fresh, of its size, drawn once a step from the given generator: by a large draw."""
    subject = scheduler.subject
    draws = _draws(scheduler, _shape(scheduler))
    if not bool(draws.first.abs().max() > 0):
        yield yes_no(
            "variance/law",
            _is_silent(scheduler, oracle),
            "no noise, as looked for",
            "a step in mid-chain adds no noise",
        )
        return
    yield from _statistics(scheduler, oracle, draws)
    yield from _sources(scheduler, draws)
    # A wrong draw need not know what to do with a list: only the right one is held to it.
    if subject.draws_from_generator and has_right(oracle, "draw"):
        yield from _list_of_generators(scheduler)


def _shape(scheduler: Scheduler) -> tuple[int, ...]:
    """Of the large draw: larger where z is not known, as its std then says the size of sigma; of
    a step that adds none one as small as any."""
    if not bool(loud_noise(scheduler.subject)[0].any()):
        return SHAPE
    return LARGE if replayed_noise(scheduler.subject, Oracle()) is not None else LARGER


def _middle(scheduler: Scheduler, oracle: Oracle) -> Level:
    """The level of mid-chain, where the law is looked at, with the next of the candidate's list."""
    t = scheduler.middle
    following = dict(some_of_chain(scheduler, [t])).get(t, t - 1)
    return level_at(scheduler, oracle, t, following)


def _is_silent(scheduler: Scheduler, oracle: Oracle) -> bool:
    level = _middle(scheduler, oracle)
    z, zero = torch.ones(1, 1), torch.zeros(1, 1)
    return not bool((oracle.sigma(level, scheduler.setting) * oracle.noise_of(z, zero)).any())


def _size(scheduler: Scheduler, oracle: Oracle) -> tuple[float, float]:
    """What the noise of mid-chain is divided by, and how far off that may be, relative to it.

    The size that a small step of the candidate's own has there, if its z is known, so that a wrong
    sigma is told by the check of sigma alone; else the oracle's sigma.
    """
    z, setting = replayed_noise(scheduler.subject, Oracle()), scheduler.setting
    if z is not None:
        nothing = torch.zeros(PIXELS)
        row = single(scheduler, None, scheduler.middle, nothing, nothing).prev
        return float((row * z).sum() / (z * z).sum()), FACTOR * UNIT
    level = _middle(scheduler, oracle)
    sigma = oracle.sigma(level, setting)
    off = propagated(lambda at: oracle.sigma(at, setting), level, sigma)
    return float(sigma), float(off / sigma) + FACTOR * UNIT


def _statistics(scheduler: Scheduler, oracle: Oracle, draws: Draws) -> Iterator[Check]:
    """Each statistic against its law, or against the oracle's own draw, to name a wrong law."""
    subject, shape = scheduler.subject, tuple(draws.first.shape)
    size, share = _size(scheduler, oracle)
    three = (draws.first, draws.second, draws.other)
    key = ("statistics", scheduler.key, shape, size)
    got = subject.remember(key, lambda: statistics(*(d / size for d in three)))
    aims: dict[str, Statistic] = {}
    if not has_right(oracle, "draw"):
        drawn = ("reference", oracle.draw, shape)
        aims = subject.remember(drawn, lambda: reference(oracle, shape))
    for name, seen in got.items():
        aim = aims.get(name)
        right = seen.right if aim is None else aim.value
        yield within(
            f"variance/law/{name.replace(' ', '-')}",
            abs(seen.value - right),
            seen.allowed(share=share, reference=aim),
            f"{name} of z is {seen.value:.4f}, should be {right:.4f}",
            input=f"step(0, t, 0) at mid-chain, {draws.first.numel()} pixels",
            reason=seen.reason(),
        )


def _sources(scheduler: Scheduler, draws: Draws) -> Iterator[Check]:
    yield yes_no(
        "variance/replay",
        bool((draws.first == draws.again).all()),
        "the same seed gives the same noise",
        "the same seed gives other noise: it cannot be replayed",
    )
    if not scheduler.subject.draws_from_generator:
        yield note("variance/generator", "step names no generator: noise from the global state")
        return
    yield yes_no(
        "variance/generator",
        bool((draws.first == draws.other_global).all()),
        "noise comes from the given generator, or is the given z, alone",
        "the noise depends on the global random state, not on what is given alone",
    )


def _list_of_generators(scheduler: Scheduler) -> Iterator[Check]:
    """Where a list is accepted, image i is drawn from generator i whatever the batch."""

    def draw(images: int, seeds: tuple[int, ...]) -> Tensor:
        t, nothing = scheduler.middle, torch.zeros(images, 1, 2, 2)
        streams = [torch.Generator().manual_seed(s) for s in seeds]
        return scheduler.alone(nothing, t, nothing, 5, generator=streams).prev

    def ask() -> tuple[Tensor, Tensor] | None:
        scheduler.visit(None)
        try:
            many = draw(3, (31, 32, 33))
        except Broken:
            return None
        return many, torch.cat([draw(1, (seed,)) for seed in (31, 32, 33)])

    pair = scheduler.subject.remember(("generators", scheduler.key), ask)
    if pair is not None:
        yield yes_no(
            "variance/generators",
            bool((pair[0] == pair[1]).all()),
            "a list of generators gives each image its own noise",
            "with a list of generators an image depends on its batch-mates",
        )

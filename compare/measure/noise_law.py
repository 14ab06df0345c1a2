"""The law of the noise of a step, and where it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.measure.check import Check, note, within, yes_no
from compare.measure.probe import some_of_chain
from compare.measure.step import replayed_noise
from compare.oracle import F64, Level, Oracle

SIX = 6.2  # |N(0, 1)| exceeds it with probability 6e-10
LARGE = (64, 4, 32, 32)
LARGER = (64, 4, 64, 64)  # std known to 7e-4: a 1 % error is 14 standard errors


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
        t, nothing = scheduler.setting.num_train_timesteps // 2, torch.zeros(shape)
        base = 1000 * subject.seed

        def call(seed: int | None, generator: torch.Generator | None = None) -> Tensor:
            seed = None if seed is None else base + seed
            return scheduler.step(nothing, t, nothing, seed, generator).prev.float()

        stream = torch.Generator().manual_seed(base + 5)
        first = call(5, stream)
        # Without a generator nothing is reseeded: the next numbers of the global stream.
        second = call(6, stream) if "generator" in subject.step_named else call(None)
        same = torch.Generator().manual_seed(base + 5)
        return Draws(first, second, call(9), call(5), call(77, same))

    return subject.remember(("draws", scheduler.key, shape), ask)


def law_of_step(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """N(0, 1), fresh, of its size, drawn once a step from the given generator: by a large draw."""
    subject = scheduler.subject
    known = replayed_noise(subject, Oracle()) is not None
    shape = LARGE if known else LARGER
    draws = _draws(scheduler, shape)
    if not bool(draws.first.abs().max() > 0):
        yield yes_no(
            "variance/law",
            _is_silent(scheduler, oracle),
            "no noise, as looked for",
            "a step in mid-chain adds no noise",
        )
        return
    sigma = float(oracle.sigma(_middle(scheduler, oracle), scheduler.setting))
    size = float(draws.first.square().mean().sqrt()) if known else sigma
    key = ("statistics", scheduler.key, shape, size)
    three = (draws.first, draws.second, draws.other)
    got = dict(subject.remember(key, lambda: statistics(*(d / size for d in three))))
    if known or size == 0:
        del got["std"]
    yield from _statistics(scheduler, oracle, got, shape)
    yield from _sources(scheduler, draws)
    # A wrong draw need not know what to do with a list: only the right one is held to it.
    if "generator" in subject.step_named and oracle.draw is Oracle().draw:
        yield from _list_of_generators(scheduler)


def _middle(scheduler: Scheduler, oracle: Oracle) -> Level:
    """The level of mid-chain, where the law is looked at, with the next of the candidate's list."""
    setting, n = scheduler.setting, scheduler.setting.num_train_timesteps
    t = n // 2
    following = dict(some_of_chain(scheduler, [t])).get(t, t - 1)
    at = torch.tensor([[t]])
    prev = oracle.previous(torch.tensor([[following]]), at, n, setting)
    return oracle.level(scheduler.alpha_bars(oracle), at, prev, setting)


def _is_silent(scheduler: Scheduler, oracle: Oracle) -> bool:
    level = _middle(scheduler, oracle)
    z, zero = torch.ones(1, 1), torch.zeros(1, 1)
    return not bool((oracle.sigma(level, scheduler.setting) * oracle.noise_of(z, zero)).any())


def statistics(z: Tensor, second: Tensor, other: Tensor) -> dict[str, float]:
    """Moments, distance to the normal law, and correlations that should be 0."""
    flat = z.flatten()
    ordered = flat.sort().values.double()
    normal = 0.5 * (1 + torch.erf(ordered / 2**0.5))
    grid = torch.arange(1, len(ordered) + 1, dtype=F64) / len(ordered)
    return {
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "distance to N(0, 1)": float((normal - grid).abs().max()),
        "correlation of neighbours in a row": _correlation(z[..., 1:], z[..., :-1]),
        "correlation of neighbours in a column": _correlation(z[..., 1:, :], z[..., :-1, :]),
        "correlation of channels": _correlation(z[:, 1:], z[:, :-1]),
        "correlation of images": _correlation(z[1:], z[:-1]),
        "correlation of calls": _correlation(z, second),
        "correlation of seeds": _correlation(z, other),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt().clamp(min=1e-30))


def _statistics(
    scheduler: Scheduler, oracle: Oracle, got: dict[str, float], shape: tuple[int, ...]
) -> Iterator[Check]:
    """Each statistic against that of the oracle's own draw, so that a wrong law can be named."""
    n, factor = torch.Size(shape).numel(), 1.0
    reference = dict.fromkeys(got, 0.0) | {"std": 1.0}
    if oracle.draw is not Oracle().draw:
        normalised = "std" not in got
        key = ("reference", oracle.draw, shape, normalised)
        reference, n = scheduler.subject.remember(
            key, lambda: _reference(oracle, shape, normalised)
        )
        factor = 2.0
    spread = {"std": (0.5 / n) ** 0.5, "distance to N(0, 1)": 3.3 / SIX / n**0.5}
    for name, value in got.items():
        yield within(
            f"variance/law/{name.replace(' ', '-')}",
            abs(value - reference[name]),
            factor * SIX * spread.get(name, n**-0.5),
            f"{name} of z is {value:.4f}, should be {reference[name]:.4f}",
            input=f"step(0, t, 0) at mid-chain, {n} pixels",
            reason=f"{SIX} standard errors of {n} draws: false alarm 6e-10 each",
        )


def _reference(oracle: Oracle, shape: tuple, normalised: bool) -> tuple[dict[str, float], int]:
    """The statistics of an oracle's own draw, and how many of its numbers are drawn singly."""
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    three = [oracle.draw(shape, g, torch.float32) for g in (stream, stream, other)]
    size = float(three[0].square().mean().sqrt()) if normalised else 1.0
    return statistics(*(d / size for d in three)), len(three[0].unique())


def _sources(scheduler: Scheduler, draws: Draws) -> Iterator[Check]:
    yield yes_no(
        "variance/replay",
        bool((draws.first == draws.again).all()),
        "the same seed gives the same noise",
        "the same seed gives other noise: it cannot be replayed",
    )
    if "generator" not in scheduler.subject.step_named:
        yield note("variance/generator", "step names no generator: noise from the global state")
        return
    yield yes_no(
        "variance/generator",
        bool((draws.first == draws.other_global).all()),
        "noise comes from the given generator alone",
        "the noise depends on the global random state, not on the given generator alone",
    )


def _list_of_generators(scheduler: Scheduler) -> Iterator[Check]:
    """Where a list is accepted, image i is drawn from generator i whatever the batch."""

    def draw(images: int, seeds: tuple[int, ...]) -> Tensor:
        t, nothing = scheduler.setting.num_train_timesteps // 2, torch.zeros(images, 1, 2, 2)
        streams = [torch.Generator().manual_seed(s) for s in seeds]
        return scheduler.step(nothing, t, nothing, 5, streams).prev

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

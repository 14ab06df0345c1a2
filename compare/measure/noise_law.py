"""The law of the noise of a step, and where it comes from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.scheduler import Broken
from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger
from compare.measure.probe import alpha_bars, some_of_chain
from compare.measure.step import replayed_noise
from compare.oracle import F64, Level, Oracle, Setting

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
    dtype: torch.dtype


def _draws(subject: Subject, setting: Setting, shape: tuple[int, ...]) -> Draws:
    built = subject.build(setting)
    assert built is not None

    def ask() -> Draws:
        built.visit(None)
        t = setting.num_train_timesteps // 2
        nothing = torch.zeros(shape)

        base = 1000 * subject.seed

        def call(seed: int, generator: torch.Generator | None = None) -> Tensor:
            return built.step(nothing, t, nothing, base + seed, generator).prev.float()

        stream = torch.Generator().manual_seed(base + 5)
        first = call(5, stream)
        if "generator" in subject.step_named:
            second = call(6, stream)
        else:
            built.subject.global_state, kept = False, built.subject.global_state
            second = call(5)  # nothing is reseeded: the next numbers of the global stream
            built.subject.global_state = kept
        same = torch.Generator().manual_seed(base + 5)
        return Draws(first, second, call(9), call(5), call(77, same), torch.float32)

    return subject.remember(("draws", built.key, shape), ask)


def judge_law(ledger: Ledger, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    """N(0, 1), fresh, of its size, drawn once a step from the given generator: by a large draw."""
    known = replayed_noise(subject, Oracle()) is not None
    shape = LARGE if known else LARGER
    draws = _draws(subject, setting, shape)
    if not bool(draws.first.abs().max() > 0):
        ledger.judge(
            "law",
            _is_silent(oracle, subject, setting),
            "no noise, as looked for",
            "a step in mid-chain adds no noise",
            catches="mistake 55",
        )
        return
    sigma = float(oracle.sigma(_middle(subject, oracle, setting), setting))
    size = float(draws.first.square().mean().sqrt()) if known else sigma
    key = ("statistics", subject.build(setting).key, shape, size)  # type: ignore[union-attr]
    three = (draws.first, draws.second, draws.other)
    got = dict(subject.remember(key, lambda: statistics(*(d / size for d in three))))
    if known or size == 0:
        got["std"] = float("nan")
    _statistics(ledger, subject, oracle, got, shape)
    _sources(ledger, subject, setting, draws)
    # A wrong draw need not know what to do with a list: only the right one is held to it.
    if "generator" in subject.step_named and oracle.draw is Oracle().draw:
        _list_of_generators(ledger, subject, setting)


def _middle(subject: Subject, oracle: Oracle, setting: Setting) -> Level:
    """The level of mid-chain, where the law is looked at, with the next of the candidate's list."""
    t = setting.num_train_timesteps // 2
    following = dict(some_of_chain(subject, setting, [t])).get(t, t - 1)
    at, n = torch.tensor([[t]]), setting.num_train_timesteps
    prev = oracle.previous(torch.tensor([[following]]), at, n, setting)
    return oracle.level(alpha_bars(subject, oracle, setting), at, prev, setting)


def _is_silent(oracle: Oracle, subject: Subject, setting: Setting) -> bool:
    level = _middle(subject, oracle, setting)
    z, zero = torch.ones(1, 1), torch.zeros(1, 1)
    return not bool((oracle.sigma(level, setting) * oracle.noise_of(z, zero)).any())


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
    ledger: Ledger, subject: Subject, oracle: Oracle, got: dict[str, float], shape: tuple
) -> None:
    """Each statistic against that of the oracle's own draw, so that a wrong law can be named."""
    n = torch.Size(shape).numel()
    right = oracle.draw is Oracle().draw
    reference = dict.fromkeys(got, 0.0) | {"std": 1.0}
    factor = 1.0
    if not right:
        whole = got["std"] != got["std"]
        key = ("reference", oracle.draw, shape, whole)
        reference, n = subject.remember(key, lambda: _reference(oracle, shape, whole))
        factor = 2.0
    spread = {"std": (0.5 / n) ** 0.5, "distance to N(0, 1)": 3.3 / SIX / n**0.5}
    for name, value in got.items():
        if value != value:
            continue
        allowed = factor * SIX * spread.get(name, n**-0.5)
        off = abs(value - reference[name])
        ledger.add(
            f"law/{name.replace(' ', '-')}",
            "close" if off <= allowed else "differs",
            f"{name} of z is {value:.4f}, should be {reference[name]:.4f}",
            measured=off,
            allowed=allowed,
            input=f"step(0, t, 0) at mid-chain, {n} pixels",
            reason=f"{SIX} standard errors of {n} draws: false alarm 6e-10 each",
            catches="mistakes 17, 60-63",
        )


def _reference(oracle: Oracle, shape: tuple, normalised: bool) -> tuple[dict[str, float], int]:
    """The statistics of an oracle's own draw, and how many of its numbers are drawn singly."""
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    three = [oracle.draw(shape, g, torch.float32) for g in (stream, stream, other)]
    size = float(three[0].square().mean().sqrt()) if normalised else 1.0
    return statistics(*(d / size for d in three)), len(three[0].unique())


def _sources(ledger: Ledger, subject: Subject, setting: Setting, draws: Draws) -> None:
    same = bool((draws.first == draws.again).all())
    ledger.judge(
        "replay",
        same,
        "the same seed gives the same noise",
        "the same seed gives other noise: it cannot be replayed",
    )
    if "generator" not in subject.step_named:
        ledger.add("generator", "note", "step names no generator: noise from the global state")
        return
    alone = bool((draws.first == draws.other_global).all())
    ledger.judge(
        "generator",
        alone,
        "noise comes from the given generator alone",
        "the noise depends on the global random state, not on the given generator alone",
    )


def _list_of_generators(ledger: Ledger, subject: Subject, setting: Setting) -> None:
    """Where a list is accepted, image i is drawn from generator i whatever the batch."""
    built = subject.build(setting)
    assert built is not None

    def ask() -> tuple[Tensor, Tensor] | None:
        built.visit(None)
        t, nothing = setting.num_train_timesteps // 2, torch.zeros(3, 1, 2, 2)
        streams = [torch.Generator().manual_seed(s) for s in (31, 32, 33)]
        try:
            many = built.step(nothing, t, nothing, 5, streams).prev
        except Broken:
            return None
        alone = [
            built.step(nothing[:1], t, nothing[:1], 5, [torch.Generator().manual_seed(s)]).prev
            for s in (31, 32, 33)
        ]
        return many, torch.cat(alone)

    pair = subject.remember(("generators", built.key), ask)
    if pair is None:
        return
    ledger.judge(
        "generators",
        bool((pair[0] == pair[1]).all()),
        "a list of generators gives each image its own noise",
        "with a list of generators an image depends on its batch-mates",
        catches="mistake 106",
    )

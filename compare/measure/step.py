"""What the oracle expects of a probed step, given the candidate's own earlier stages."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.candidate.generators import kept_in_torch, seed_everything
from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.probe import PIXELS, SEED, SHAPE, Probe, probe, visits
from compare.measure.tolerances import FACTOR, UNIT, propagated
from compare.measure.values import Expected, deviation
from compare.oracle import F64, Inputs, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME

STRIDES = (1, 2, 4, 10, 50)
STRIDES_OF_OWN = (1, 2, 3, 4, 7, 10)  # also such as do not divide T
MORE_STRIDES = (61, 250)
SPACINGS = ("leading", "trailing", "linspace")
OWN = "own"  # the spacing of lists that are none of these: a convention, where none is named
COUNTS_OF_OWN = 10  # such lists are judged up to so many steps: longer ones may repeat a t


def where_t(probe: Probe) -> Callable[[tuple[int, ...]], str]:
    """Names the t of a row; the rows of several inputs follow each other."""
    ts = probe.t.flatten().tolist()
    return lambda index: f"t={ts[index[0] % len(ts)]}"


def level_of(
    oracle: Oracle, table: Tensor, probe: Probe, setting: Setting, prev: Tensor | None = None
) -> Level:
    """The levels of a probe's steps, each with `prev` or the next of the candidate's own list."""
    if prev is None:
        prev = oracle.previous(probe.prev, probe.t, probe.n, setting)
    return oracle.place(table, probe.t, prev, probe.before, setting)


def level_at(
    scheduler: Scheduler, oracle: Oracle, t: int, following: int, table: Tensor | None = None
) -> Level:
    """The level (1, 1) of one step of the full chain, by the candidate's own table or another."""
    at, after, setting = torch.tensor([[t]]), torch.tensor([[following]]), scheduler.setting
    prev = oracle.previous(after, at, setting.num_train_timesteps, setting)
    table = scheduler.alpha_bars(oracle) if table is None else table
    return oracle.place(table, at, prev, scheduler.before(at), setting)


def replayed_noise(subject: Subject, oracle: Oracle) -> Tensor | None:
    """(1, 8) the z that a step draws when every source is set to the probe's seed, if known."""
    with suppress(Broken):  # a step that gives no answer is told by the stages that ask for it
        return subject.remember(
            ("replayed", oracle.draw), lambda: replayed(loud_noise(subject)[0], oracle)
        )
    return None


def replayed(row: Tensor, oracle: Oracle) -> Tensor | None:
    """The same where `row` (1, 8) is the noise of one step, which must be a multiple of it."""
    given = torch.Generator()
    streams = (given, None, *kept_in_torch())
    for generator, dtype in product(streams, (torch.float32, torch.float64)):
        seed_everything(SEED)
        given.manual_seed(SEED)
        z = oracle.draw(SHAPE, generator, dtype).reshape(1, PIXELS).to(F64)
        if _parallel(row, z):
            return z
    return None


def _parallel(row: Tensor, z: Tensor) -> bool:
    scale = (row * z).sum() / (z * z).sum()
    return bool((row - scale * z).abs().max() <= 1e-4 * row.abs().max()) and bool(scale.abs() > 0)


def loud(subject: Subject) -> Scheduler | None:
    """The scheduler whose steps draw: the base one, or one that is changed so that it does."""
    base = subject.setting
    return subject.offers(**BY_NAME[base.sampler].loud(base))


def loud_noise(subject: Subject) -> tuple[Tensor, int]:
    """(1, 8) the noise of one step, in mid-chain where that draws, and the row of the probe."""

    def ask() -> tuple[Tensor, int]:
        zero = probe(loud(subject) or subject.scheduler()).zero
        strongest = zero.abs().amax(dim=1).argmax()
        middle = len(zero) // 2
        chosen = middle if bool(zero[middle].abs().max() > 0) else int(strongest)
        return zero[chosen : chosen + 1], chosen

    return subject.remember(("noise",), ask)


def noise_row(subject: Subject, oracle: Oracle) -> tuple[Tensor, float]:
    """(1, 8) the z behind the probe's seed, and how far off it may be, relative to its size.

    Replayed, or else read off a step in mid-chain, whose sigma float32 moves.
    """
    replayed = replayed_noise(subject, oracle)
    if replayed is not None:
        return replayed, 0.0
    scheduler = loud(subject) or subject.scheduler()
    setting, (noise, chosen) = scheduler.setting, loud_noise(subject)
    level = level_of(oracle, scheduler.alpha_bars(oracle), probe(scheduler), setting)
    sigma = oracle.sigma(level, setting)
    if not bool(sigma[chosen] > 0):
        return torch.ones_like(noise), 0.0
    off = propagated(lambda at: oracle.sigma(at, setting), level, sigma)
    return noise / sigma[chosen], float(off[chosen] / sigma[chosen]) + FACTOR * UNIT


def rows_of_mean(probe: Probe) -> Tensor:
    """(2k, 8): what x alone, then the model output alone, add to a step."""
    assert probe.at_x is not None
    assert probe.at_out is not None
    return torch.cat([probe.at_x - probe.zero, probe.at_out - probe.zero])


def twice(level: Level) -> Level:
    """The levels of the two halves of `rows_of_mean`."""
    return level.map(lambda values: values.repeat(2, 1))


def inputs(probe: Probe) -> tuple[Tensor, Tensor]:
    """Model outputs and samples of the two halves of `rows_of_mean`."""
    return (
        torch.cat([torch.zeros_like(probe.out), probe.out]),
        torch.cat([probe.x, torch.zeros_like(probe.x)]),
    )


def own_x_0(probe: Probe) -> tuple[Tensor, Tensor] | None:
    """The candidate's own x0-hat of both halves, and of zeros, if it returns them."""
    if probe.x_0_zero is None or probe.x_0_x is None or probe.x_0_out is None:
        return None
    return torch.cat([probe.x_0_x, probe.x_0_out]), probe.x_0_zero.repeat(2, 1)


def expected_mean(oracle: Oracle, probe: Probe, level: Level, setting: Setting) -> Expected:
    """What the two halves should be, given the candidate's own x0-hat where it shows it."""

    def ask() -> tuple[Tensor, Tensor]:
        out, x = inputs(probe)
        zero = torch.zeros_like(x)
        there, here = own_x_0(probe) or (None, None)
        both = twice(level)
        still = oracle.step_mean(zero, zero, both, setting, here)

        def noise(at: Level) -> Tensor:
            return oracle.sigma(at, setting) * oracle.noise_of(zero, out)

        added = noise(both)
        right = oracle.step_mean(out, x, both, setting, there) + added - still
        size = torch.cat([probe.zero, probe.zero]).abs() + right.abs()
        bound = mean_bound(oracle, out, x, there, both, setting) + rounding(size)
        return right, bound + propagated(noise, both, added.abs())

    return ask


def mean_bound(
    oracle: Oracle,
    out: Tensor,
    x: Tensor,
    given: Tensor | None,
    level: Level,
    setting: Setting,
    memory: Any = None,
) -> Tensor:
    """Allowed deviation of a mean; its terms are rounded one by one, so errors do not cancel."""
    sampler, asked = oracle.sampler(setting), Inputs(out, x, level, setting, given, memory)

    def x_0(at: Level) -> Tensor:
        return oracle.x_0(setting.prediction_type, out, x, at) if given is None else given

    bound = 1e-6 * rounding(x, out)  # where the right coefficient is 0
    for part in sampler.terms(oracle, asked, x_0):
        size = part(level).abs()
        bound = bound + propagated(part, level, size) + rounding(size) * sampler.roughness(level)
    noise, signal = (1 - level.alpha_bar).sqrt(), level.alpha_bar.sqrt()
    raw = rounding(x.abs() + noise * out.abs()) / signal.clamp(min=1e-12)
    eps = rounding(x.abs() + signal * x_0(level).abs()) / noise
    for part in sampler.cancelling(oracle, asked, x_0(level)):
        eps = eps + propagated(part, level, torch.zeros_like(x))
    return bound + sampler.moved(oracle, raw if given is None else None, eps, level, setting)


def curves_of_mean(probe: Probe) -> Tensor:
    """(2, k): a_t and b_t, what x_t and the model output are multiplied by in a step."""
    both, k = rows_of_mean(probe), len(probe.t)
    return torch.stack([(both[:k] / probe.x).mean(1), (both[k:] / probe.out).mean(1)])


def right_curves(oracle: Oracle, level: Level, setting: Setting) -> Tensor:
    """(2, k): the same two of an oracle's step at k levels (k, 1)."""
    one = torch.ones(level.t.shape, dtype=F64)
    pairs = ((0 * one, one), (one, 0 * one))
    return torch.stack([oracle.step_mean(o, x, level, setting).flatten() for o, x in pairs])


def strided(subject: Subject) -> list[tuple[str, int]]:
    """The chains shorter than T that are probed: (spacing, n)."""
    T, spacing = subject.setting.num_train_timesteps, subject.setting.timestep_spacing
    if not subject.has("set_timesteps"):
        return []
    offered = spacings(subject)
    counts = STRIDES_OF_OWN if list(offered) == [OWN] else STRIDES
    chains = [(s, n) for s in offered for n in counts]
    longer = offered if subject.level == "full" else [spacing]
    chains += [(s, n) for s in longer for n in MORE_STRIDES]
    found = [(s, n) for s, n in chains if n < T and (s != OWN or n <= COUNTS_OF_OWN)]
    return [(s, n) for s, n in found if s in offered and visits(offered[s], n)]


def spacings(subject: Subject) -> dict[str, Scheduler]:
    """The spacings that are offered; one of the candidate's own is offered only as it is."""
    if subject.setting.timestep_spacing == OWN:
        return {OWN: subject.scheduler()}
    found = {s: subject.offers(timestep_spacing=s) for s in SPACINGS}
    return {s: scheduler for s, scheduler in found.items() if scheduler is not None}


@dataclass(frozen=True)
class Chain:
    """A probed chain shorter than T, and the previous steps that the candidate's step uses."""

    name: str
    scheduler: Scheduler
    rows: Probe
    prev: Tensor
    fits_list: bool
    fits_other: bool


def chain(subject: Subject, oracle: Oracle, spacing: str, n: int) -> Chain:
    """Probes a strided chain and finds out which previous steps its means belong to."""
    scheduler = spacings(subject)[spacing]
    key = ("chain", oracle, scheduler.setting, n)
    return subject.remember(key, lambda: _chain(scheduler, oracle, n))


def _chain(scheduler: Scheduler, oracle: Oracle, n: int) -> Chain:
    setting = scheduler.setting
    rows = probe(scheduler, n)
    table = scheduler.alpha_bars(oracle)
    prev = oracle.previous(rows.prev, rows.t, rows.n, setting)
    level = level_of(oracle, table, rows, setting, prev)
    measured = rows_of_mean(rows)
    fits = deviation(measured, *expected_mean(oracle, rows, level, setting)())[0] != "differs"
    other = None
    if not fits and oracle == Oracle() and full_chain_fits(scheduler.subject, oracle):
        other = _fitting_previous(oracle, rows, table, setting, measured)
    used = prev if other is None else other
    name = f"{setting.timestep_spacing}-{n}"
    return Chain(name, scheduler, rows, used, fits, other is not None)


def full_chain_fits(subject: Subject, oracle: Oracle) -> bool:
    """True if the means of the chain of all T steps are right."""
    scheduler = subject.scheduler()
    setting, rows = scheduler.setting, probe(scheduler)
    level = level_of(oracle, scheduler.alpha_bars(oracle), rows, setting)
    expected = expected_mean(oracle, rows, level, setting)()
    return deviation(rows_of_mean(rows), *expected)[0] != "differs"


def _fitting_previous(
    oracle: Oracle, rows: Probe, table: Tensor, setting: Setting, measured: Tensor
) -> Tensor | None:
    """(k, 1) previous steps that explain both mean coefficients of every step, or None."""
    found = torch.full(rows.t.shape, -2)
    k = len(rows.t)
    for i, t in enumerate(rows.t.flatten().tolist()):
        candidates = torch.arange(-1, t).reshape(-1, 1)
        m = len(candidates)
        at, before = torch.full((m, 1), t), rows.before[i].expand(m, 1)
        many = Probe(rows.n, at, candidates, before, *_of_step(rows, i, m))
        level = level_of(oracle, table, many, setting, candidates)
        right, allowed = expected_mean(oracle, many, level, setting)()
        both = torch.cat([measured[j : j + 1].expand(m, -1) for j in (i, i + k)])
        ratio = ((both - right).abs() / allowed.clamp(min=1e-300)).amax(dim=1)
        excess = ratio.reshape(2, m).amax(0)
        best = int(excess.argmin())
        if float(excess[best]) > 1:
            return None
        found[i] = candidates[best]
    return found


def _of_step(rows: Probe, i: int, m: int) -> Any:
    """The answers of step i, m times."""
    seen = (rows.x, rows.out, rows.zero, rows.at_x, rows.at_out)
    every = (*seen, rows.x_0_zero, rows.x_0_x, rows.x_0_out)
    return [None if v is None else v[i : i + 1].expand(m, -1) for v in every]


def rounding(*sizes: Tensor) -> Tensor:
    """Allowed for values that pass through float32 once each."""
    return FACTOR * UNIT * sum((s.abs() for s in sizes[1:]), sizes[0].abs())

"""Whole chains, walked by a candidate's own step from x_T ~ N(0, I) with an exact denoiser.

Half of the images are of Gaussian data, half of data with two modes, both wide enough for a clip
to cut. A chain is looked at in two ways. From call to call: what a step leaves after its mean,
over sigma, must be N(0, 1) and independent of all that came before; so every statistic is an exact
normal one. At its end: its images against those of the oracle's own chain, with other random
numbers. Neither calls the candidate again when another oracle is tried on.

A scheduler that keeps nothing between calls and whose single steps are right passes. What is found,
in each trial of `tests/compare/test_sampling.py`: noise that comes back after eight calls, a tenth
of the noise of two calls before, 2 % of the last step's direction, noise repeated from image 300
on, and along a full chain of 400 steps a std 1 % too small. At the end of a chain of 2048 images:
Gaussian ones whose mean is 0.3 standard deviations off, modes drawn 3 : 1 where it should be 1 : 1,
a lost mode, noise that neighbours in the batch share with a correlation of 0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from compare.candidate.generators import seed_everything
from compare.candidate.scheduler import Scheduler
from compare.candidate.spy import CENTRE, exact_denoiser
from compare.candidate.subject import Subject
from compare.measure.chain_end import at_the_end
from compare.measure.noise import Evidence, Noise, of_noise, silent
from compare.measure.step import mean_bound
from compare.measure.tolerances import log_snr, propagated
from compare.oracle import F64, STEP, Inputs, Level, Oracle, Setting

PIXELS = (1, 2, 2)
IMAGES = {True: 1024, False: 2048}  # of the full chain; of shorter ones
SPREADS, APART = (0.6, 0.3), 0.7  # Gaussian, two modes: a tenth of the pixels lies beyond 1
REPLAYED = 10  # steps of the first chain that are walked a second time
AT_ONCE = 128  # steps looked at together, for memory
Denoiser = Callable[[Tensor, Tensor], Tensor]
SHARE = 0.05  # of sigma: where float32 may do more, a step's z is not looked at


@dataclass(frozen=True)
class Walk:
    """A chain of k steps as it was walked; x (k + 1, b, 4) and out (k, b, 4) float32.

    `again` is true if its first steps, walked once more after all others, went the same way.
    """

    t: Tensor
    following: Tensor
    x: Tensor
    out: Tensor
    again: bool = True

    @property
    def at_end(self) -> Tensor:
        """(b, 4) float64 the images."""
        return self.x[-1].to(F64)


def denoiser(setting: Setting, table: Tensor, images: int) -> Denoiser:
    """The exact answer for both kinds of data, as (x (b, 4), t) -> out (b, 4)."""
    half = images // 2
    spread, centre, apart = (torch.empty(images, 1, 1, 1, dtype=F64) for _ in range(3))
    for values, gaussian, modes in ((spread, *SPREADS), (centre, CENTRE, 0.0), (apart, 0.0, APART)):
        values[:half], values[half:] = gaussian, modes
    answer = exact_denoiser(setting.prediction_type, table, centre, spread, apart)

    def flat(x: Tensor, t: Tensor) -> Tensor:
        return answer(x.reshape(images, *PIXELS), t).reshape(images, -1)

    return flat


def walks(
    scheduler: Scheduler, table: Tensor, lengths: tuple[int | None, ...]
) -> dict[int | None, Walk]:
    """Chains of these lengths (None: all T) one after another on one scheduler, made anew."""
    subject, setting = scheduler.subject, scheduler.setting
    return subject.remember(
        ("walks", setting, lengths), lambda: _walks(subject.fresh(setting), table, lengths)
    )


def _walks(
    scheduler: Scheduler, table: Tensor, lengths: tuple[int | None, ...]
) -> dict[int | None, Walk]:
    found = {n: _walk(scheduler, table, n, None) for n in lengths}
    first = lengths[0]
    once = found[first]
    k = min(len(once.t), REPLAYED)
    again = _walk(scheduler, table, first, k)
    same = torch.equal(again.x, once.x[: k + 1]) and torch.equal(again.t, once.t[:k])
    return found | {first: replace(once, again=same)}


def _walk(scheduler: Scheduler, table: Tensor, n: int | None, k: int | None) -> Walk:
    """The chain of n steps, or its first k, from the same x_T and the same random numbers."""
    if scheduler.sampler.remembers:
        scheduler.chain.n = None  # what it kept of the last chain is forgotten where one is chosen
    visited = scheduler.visit(n)
    following = [*visited[1:], -1]
    images = IMAGES[n is None]
    answer = denoiser(scheduler.setting, table, images)
    start, stream = _streams(scheduler.subject)[:2]
    seed_everything(stream.initial_seed())
    x = torch.randn(images, torch.Size(PIXELS).numel(), generator=start)
    xs, outs = [x], []
    for t in visited[:k]:
        out = answer(x.to(F64), torch.tensor([t])).float()
        image, given = (v.reshape(images, *PIXELS) for v in (x, out))
        x = scheduler.step(given, t, image, None, stream).prev.float().reshape(images, -1)
        xs.append(x)
        outs.append(out)
    steps, after = torch.tensor(visited[:k]), torch.tensor(following[:k])
    return Walk(steps, after, torch.stack(xs), torch.stack(outs))


def _streams(subject: Subject) -> list[torch.Generator]:
    """Of x_T, of a candidate's noise, and of the oracle's chain: never the same numbers."""
    return [torch.Generator().manual_seed(10_000 + 3 * subject.seed + i) for i in range(3)]


def end_of_oracle(
    subject: Subject, oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> Tensor:
    """(b, 4) float64 the end of the oracle's own chain: the same table and list, other numbers.

    A table that is right up to rounding, as the schedule stage sees it, is taken for the right
    one: no test of as many images can tell, and one chain serves every such candidate.
    """
    right = oracle.alpha_bar(setting)
    if len(right) == len(table) and bool((log_snr(table) - log_snr(right)).abs().max() < 5e-3):
        table = right
    listed = tuple(zip(walk.t.tolist(), walk.following.tolist(), strict=True))
    seed = _streams(subject)[2].initial_seed()
    return _end_of_oracle(oracle, setting, tuple(table.tolist()), listed, walk.x.shape[1], seed)


@lru_cache(32)
def _end_of_oracle(
    oracle: Oracle,
    setting: Setting,
    table: tuple[float, ...],
    listed: tuple[tuple[int, int], ...],
    images: int,
    seed: int,
) -> Tensor:
    alpha_bar, stream = torch.tensor(table, dtype=F64), torch.Generator().manual_seed(seed)
    t, following = torch.tensor(listed).unbind(1)
    level, sigma = _level(oracle, alpha_bar, setting, t, following)
    answer = denoiser(setting, alpha_bar, images)
    x, memory = torch.randn(images, torch.Size(PIXELS).numel(), generator=stream).to(F64), None
    for i in range(len(listed)):
        out, at = answer(x, t[i : i + 1]), level.at(slice(i, i + 1))
        mean = oracle.step_mean(out, x, at, setting, memory=memory)[0]
        memory = oracle.keep(Inputs(out, x, at, setting, memory=memory))
        if bool(sigma[i] != 0):
            z = oracle.draw(tuple(x.shape), stream, torch.float32).to(F64)
            mean = mean + sigma[i] * oracle.noise_of(z, out)
        x = oracle.finish(mean, setting)
    return x


def _level(
    oracle: Oracle, table: Tensor, setting: Setting, t: Tensor, following: Tensor
) -> tuple[Level, Tensor]:
    """The levels of steps (k,) and their sigmas, (k, 1, 1)."""
    t, following = (v.reshape(-1, 1, 1) for v in (t, following))
    prev, before = oracle.previous(following, t, len(t), setting), torch.roll(t, 1)
    before[0] = -1
    level = oracle.place(table, t, prev, before, setting)
    return level, oracle.sigma(level, setting)


def evidence(
    scheduler: Scheduler, oracle: Oracle, table: Tensor, walk: Walk
) -> dict[str, Evidence]:
    """What is looked at in one chain; worked out once for all oracles with the same steps."""
    subject, setting, stepping = scheduler.subject, scheduler.setting, oracle.only(*STEP)
    key = ("evidence", stepping, setting, len(walk.t), walk.x.shape[1])
    return subject.remember(key, lambda: _evidence(subject, stepping, table, setting, walk))


def _evidence(
    subject: Subject, oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> dict[str, Evidence]:
    found = _from_call_to_call(oracle, table, setting, walk)
    return found | at_the_end(walk.at_end, end_of_oracle(subject, oracle, table, setting, walk))


def _from_call_to_call(
    oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> dict[str, Evidence]:
    level, sigma = _level(oracle, table, setting, walk.t, walk.following)
    size = sigma.flatten()
    largest_x, largest_out = (
        v.abs().amax(dim=(1, 2), keepdim=True).to(F64) for v in (walk.x[:-1], walk.out)
    )
    memory = _kept(oracle, -largest_out, largest_x, level, setting)
    bound = mean_bound(oracle, -largest_out, largest_x, None, level, setting, memory)
    bound = bound + propagated(lambda at: oracle.sigma(at, setting), level, sigma)
    bound = bound.flatten() + 1e-9  # a variance that should be 0 may be clamped to 1e-20
    share = bound / size.abs().clamp(min=1e-300)
    noisy = share < SHARE
    left = torch.empty_like(walk.out)
    for start in range(0, len(left), AT_ONCE):
        first = max(start - 1, 0)  # what it kept of the one before is looked at with it
        part, asked = slice(start, start + AT_ONCE), slice(first, start + AT_ONCE)
        x, out = (v[asked].to(F64) for v in (walk.x[:-1], walk.out))
        at = level.at(asked)
        memory = _kept(oracle, out, x, at, setting)
        mean = oracle.step_mean(out, x, at, setting, memory=memory)[start - first :]
        left[part] = (walk.x[1:][part] - mean).float()
    found = {"silent": silent(*(v[~noisy] for v in (walk.t, left, size, bound)))}
    if bool(noisy.any()):
        z = left[noisy] / size[noisy].float().reshape(-1, 1, 1)
        found |= of_noise(Noise(walk.t[noisy], walk.x[:-1][noisy], z, share[noisy]))
    return found


def _kept(oracle: Oracle, out: Tensor, x: Tensor, level: Level, setting: Setting) -> Any:
    """What each of the calls (k, b, 4) that follow each other was told of the one before it."""
    before_out, before_x = (torch.cat([0 * v[:1], v[:-1]]) for v in (out, x))
    return oracle.kept(before_out, before_x, level, setting)

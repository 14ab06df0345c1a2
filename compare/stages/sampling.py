"""Stage sampling: whole chains with the exact denoiser, and the role `sample`.

By recursion where the step is affine, by walking the chain with the candidate's own step where it
is not; a loop of the candidate's own call by call.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.candidate.spy import CENTRE, SPREAD, affine_denoiser
from compare.candidate.subject import Subject
from compare.measure import chains, noise
from compare.measure.check import Check, found, guarded, note, owing, within, yes_no
from compare.measure.probe import Probe, probe, visits
from compare.measure.step import (
    COUNTS_OF_OWN,
    OWN,
    curves_of_mean,
    inputs,
    level_of,
    mean_bound,
    right_curves,
    rounding,
    rows_of_mean,
    twice,
)
from compare.measure.tolerances import TOLERANCES, propagated
from compare.measure.values import values
from compare.oracle import F64, KINDS, STEP, Level, Oracle
from compare.oracle.samplers import BY_NAME
from compare.stages.loop import judge_loop
from compare.stages.stage import Stage

STEPS = "each step ends at its formula's mean plus sigma z (Ho et al. algorithm 2, line 4)"
NOISE = "a fresh z ~ N(0, 1) at every step but the last (Ho et al. algorithm 2, line 3)"
DUTIES = {  # of checks of a loop: what is right where they fail
    "eta": "sigma^2 = eta^2 beta-tilde, and the direction has 1 - ab_prev - sigma^2 (Song et al. "
    "eq. 12, 16)",
    "eval": "model.eval() before the first step",
    "start": "x_T ~ N(0, 1) for every image (Ho et al. algorithm 2, line 1)",
    "finite": STEPS,
    "steps-": NOISE,
    "steps": STEPS,
    "weight-of": STEPS,
    "silent": NOISE,
    "neighbouring": NOISE,
    "pictures": "the last step as it is, at most clamped to the range of the data",
    "clamp": "values outside the range of the data clamped to it",
    "generators": "noise of image i from generator i alone",
    "again": "a step that depends on nothing but what it is given and its list",
}
LENGTHS = (4, 10, 50, None)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Laws along chains by recursion, then by walking them; a loop of the candidate's own."""
    yield from owing(_checks(subject, oracle), DUTIES)


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    if subject.has("step") and not subject.steps_pass:
        text = "not judged: chains follow from the steps, and an earlier stage differs"
        yield note("sampling/chains", text)
    elif subject.has("step"):
        yield _inputs(subject)
        for n in _lengths(subject):
            id = f"sampling/marginals-{n or 'all'}"
            yield from guarded(id, _recursion(id, subject.scheduler(), oracle, n))
        for name, scheduler, lengths in _walked(subject):
            id = f"sampling/{name}"
            yield from guarded(id, _walk(id, scheduler, oracle, lengths))
    if subject.has("sample"):
        yield from guarded("sampling/loop", judge_loop(subject, oracle))


def _lengths(subject: Subject) -> list[int | None]:
    """The chains shorter than T that the candidate can make, then the full one."""
    T, short = subject.setting.num_train_timesteps, subject.has("set_timesteps")
    most = COUNTS_OF_OWN if subject.setting.timestep_spacing == OWN else T
    chosen = [n for n in LENGTHS if n is None or (short and n < T and n <= most)]
    own = subject.scheduler()
    return [n for n in chosen if n is None or visits(own, n)]


def _walked(subject: Subject) -> Iterator[tuple[str, Scheduler, tuple[int | None, ...]]]:
    """(name, scheduler, lengths) of the chains that are walked, the full one by default once.

    Where nothing is clipped the recursion says the law, so `quick` walks such a chain only where
    no clip is offered.
    """
    everything, lengths = subject.level == "full", tuple(_lengths(subject))
    wanted: dict[str, dict] = {"clipped": {"clip_sample": True}, "plain": {"clip_sample": False}}
    wanted["threshold"] = {"thresholding": True, "sample_max_value": 1.5}
    wanted |= BY_NAME[subject.setting.sampler].walked()
    for kind in KINDS if everything else ():
        wanted[f"clipped-{kind}"] = {"clip_sample": True, "prediction_type": kind}
    walked: list = []
    for name, changes in wanted.items():
        scheduler = subject.offers(**changes)
        again = name == "plain" and walked and not everything
        if scheduler is None or scheduler.setting in walked or again:
            continue
        chosen = lengths if everything or not walked else tuple(n for n in lengths if n)
        walked.append(scheduler.setting)
        if chosen:
            yield name, scheduler, chosen


def _walk(
    id: str, scheduler: Scheduler, oracle: Oracle, lengths: tuple[int | None, ...]
) -> Iterator[Check]:
    table = scheduler.alpha_bars(Oracle())
    walked = chains.walks(scheduler, table, lengths)
    for n, walk in walked.items():
        for what, seen in chains.evidence(scheduler, oracle, table, walk).items():
            how = TOLERANCES["two samples" if what in noise.AT_THE_END else "chain"]
            yield within(
                f"{id}-{n or 'all'}/{what}",
                seen.measured,
                seen.allowed,
                noise.RIGHT[what] if seen.holds else seen.message + noise.KEPT,
                input=f"{walk.x.shape[1]} images from N(0, I), {len(walk.t)} steps, exact denoiser",
                reason=f"{how.bound}: {how.reason}",
            )
    yield yes_no(
        f"{id}/again",
        walked[lengths[0]].again,
        "walked again after other chains, the first one goes the same way",
        "walked again after other chains, the first one goes another way" + noise.KEPT,
    )


def _inputs(subject: Subject) -> Check:
    """A note only: public samplers clamp the model's output in place, and their pictures are right.

    A loop that keeps what it gave, for guidance or to draw the chain, is told here.
    """
    changed = sorted(words for words in subject.overwritten if words.startswith("step"))
    if changed:
        text = f"{' and '.join(changed)} in place: give it a copy if you keep it"
        return note("sampling/inputs", text)
    return found("sampling/inputs", "equal", "step leaves what it is given as it was")


def marginals(gain: Tensor, shift: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x after each step x_prev = gain x + shift + s z, from x_T ~ N(0, 1).

    All (k,) float64. The law stays Gaussian, so nothing is sampled.

    >>> mean, variance = marginals(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([0.5]))
    >>> mean.item(), variance.item()
    (1.0, 0.5)
    """
    centre, variance = 0.0, 1.0
    centres, variances = [], []
    for g, h, size in zip(gain.tolist(), shift.tolist(), s.tolist(), strict=True):
        centre, variance = g * centre + h, g * g * variance + size * size
        centres.append(centre)
        variances.append(variance)
    return torch.tensor(centres, dtype=F64), torch.tensor(variances, dtype=F64)


@dataclass(frozen=True)
class Affine:
    """A chain of k affine steps under the exact denoiser of Gaussian data, all (k,) or (k, 1).

    The model returns slope x + height, so a step is (a + b slope) x + b height + s z.
    """

    level: Level
    slope: Tensor
    height: Tensor

    def law(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        """(k, 2) mean and std of x after each step, from the three curves of a step."""
        centre, variance = marginals(a + b * self.slope, b * self.height, s)
        return torch.stack([centre, variance.sqrt()], dim=1)


def _recursion(id: str, scheduler: Scheduler, oracle: Oracle, n: int | None) -> Iterator[Check]:
    """The law of x after every step, from the measured curves and from the oracle's; not of steps
    that go by others, whose chains are walked alone."""
    setting = scheduler.setting
    if setting.thresholding or scheduler.sampler.remembers:
        return
    rows, table = probe(scheduler, n), scheduler.alpha_bars(oracle)
    t, k = rows.t.flatten(), len(rows.t)
    level = level_of(oracle, table, rows, setting)
    chain = Affine(level, *affine_denoiser(setting.prediction_type, table, t))
    out, x = inputs(rows)
    plain = setting.unlimited
    uncut, cut = (oracle.step_mean(out, x, twice(level), how) for how in (plain, setting))
    if not torch.equal(uncut, cut):
        yield note(id, "x0-hat of the probes is cut off: the chain is walked instead")
        return
    sigma = oracle.sigma(level, setting).flatten()
    size = rows.zero.abs().mean(1)  # s_t up to the size of z
    noisy = sigma > 0
    a, b = curves_of_mean(rows)
    z = (size / sigma)[noisy].median() if bool(noisy.any()) else torch.ones(())
    yield values(
        id,
        "the law of x_t along the chain",
        chain.law(a, b, size / z),
        lambda: _marginals_allowed(scheduler, oracle, rows, chain),
        where=lambda at: f"{('mean', 'std')[at[1]]} after the step from t={int(t[at[0]])}",
        tolerance="marginals",
        input=f"data N({CENTRE}, {SPREAD}^2), the exact denoiser, {k} steps, recursion",
    )


def _curves_allowed(
    scheduler: Scheduler, oracle: Oracle, rows: Probe, level: Level
) -> tuple[Tensor, Tensor, Tensor]:
    """(k,) each: how far off a_t, b_t and s_t may be."""
    k, setting, (out, x) = len(rows.t), scheduler.setting, inputs(rows)
    ends = rounding(rows_of_mean(rows), rows.zero.repeat(2, 1))
    allowed = mean_bound(oracle, out, x, None, twice(level), setting) + ends
    off_a, off_b = (allowed[:k] / rows.x.abs()).amax(1), (allowed[k:] / rows.out.abs()).amax(1)
    size = oracle.sigma(level, setting)
    off_s = propagated(lambda at: oracle.sigma(at, setting), level, size).flatten()
    sigma = size.flatten()
    noisy = sigma > 0
    if bool(noisy.any()):  # most of the steps say z no worse than this, so their median does
        each = (off_s / sigma)[noisy]
        off_s = off_s + sigma * each.kthvalue(len(each) // 2 + 1).values
    return off_a, off_b, off_s


def _marginals_allowed(
    scheduler: Scheduler, oracle: Oracle, rows: Probe, chain: Affine
) -> tuple[Tensor, Tensor]:
    """(k, 2) the right law of x_t, and how far off it may be if each curve is off, all one way."""
    a, b = right_curves(oracle, chain.level, scheduler.setting.unlimited)
    sigma = oracle.sigma(chain.level, scheduler.setting).flatten()
    right = chain.law(a, b, sigma)
    off_a, off_b, off_s = _curves_allowed(scheduler, oracle, rows, chain.level)
    gain, spread = (a + b * chain.slope).abs(), right[:, 1].clamp(min=1e-12)
    off_gain, off_shift = off_a + off_b * chain.slope.abs(), off_b * chain.height.abs()
    before = torch.cat([torch.tensor([[0.0, 1.0]], dtype=F64), right[:-1]])
    steady = torch.ones_like(sigma)
    off_mean, _ = marginals(gain + off_gain, off_gain * before[:, 0].abs() + off_shift, steady)
    by_gain = (2 * gain + off_gain) * off_gain * before[:, 1] ** 2
    by_s = (2 * sigma + off_s) * off_s
    off_variance, _ = marginals((gain + off_gain) ** 2, by_gain + by_s, steady)
    return right, torch.stack([off_mean, off_variance / (2 * spread)], dim=1)


SAMPLING = Stage(
    name="sampling",
    looks_at="whole chains with the exact denoiser; the role `sample`",
    right="algorithm 2 of Ho et al.: t from T-1 down to 0, the model told the same t",
    page="sampling",
    checks=checks,
    needs=("step", "sample"),
    on_steps=True,
    sees=(*STEP, "timesteps", "loop"),
)

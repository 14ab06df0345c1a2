"""The coefficients of a candidate's own loop, in the bases of every sampler that it may be.

A loop does not say whether it is DDPM's or DDIM's, nor with which eta: it is read as all of them,
and told as the one in which the fewest coefficients are wrong. Beside both weights of the mean
each reading has the size of the noise.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from compare.candidate.loop.look import look
from compare.candidate.model.guidance import GUIDED, mixed
from compare.candidate.replay import Weights, weighed
from compare.candidate.scheduler import Scheduler
from compare.formulas.accounts import Account, fewest_wrong
from compare.formulas.atoms import atoms
from compare.formulas.bases import readings
from compare.formulas.curves import Reading, size_of_noise
from compare.formulas.parts.eta import as_ddim
from compare.formulas.parts.measured import Measured, Pair, other_kinds
from compare.measure.law import normal_bound
from compare.measure.loop_steps import Steps, clear, largest, steps_of, visits
from compare.measure.tolerances import FACTOR, RATE, UNIT, table_bound
from compare.measure.values import apart_in_print
from compare.oracle import Oracle
from compare.oracle.samplers import DDPM

FEWEST = 12  # steps of which all is read, where there are more
AS_WELL = 2.0  # factors: how much shorter DDIM's formula must be, where DDPM's may be meant
SHOWN = "the one that is shown", "shown is"
SHARP = 0.02  # of alpha-bar, or of 1 less it: how far off one that is read may be


def of_loop(scheduler: Scheduler, oracle: Oracle) -> list[list[Reading]]:
    """The steps of a loop, read as DDPM's and as DDIM's; none where they are not read.

    Where nobody says what its model predicts, that with which fewest coefficients are wrong is
    first, of several the likelier.
    """
    seen = _measured(scheduler, oracle, limited=True)
    if seen is None:
        return []
    kinds = (seen[0].kind, *other_kinds(scheduler))
    eta = scheduler.subject.declared_eta("sample")
    read = sorted((list(_of_kind(*seen, kind, eta)) for kind in kinds), key=fewest_wrong)
    fewest = fewest_wrong(read[0])  # none: right so, and wrong where no step is
    return [group for group in read if 0 < fewest_wrong(group) == fewest]


def _of_kind(
    step: Measured, slack: Tensor, kind: str, declared: float | None = None
) -> Iterator[Reading]:
    read = replace(step, setting=replace(step.setting, prediction_type=kind))
    assert step.sigma is not None
    for one in (read, *as_ddim(read, slack, declared)):
        noise = size_of_noise(step.sigma, slack, one.setting, named=False)
        # With eta = 1 it may be DDPM's as well, whose weights are others; and with another one a
        # DDPM step whose noise alone is wrong.
        more = AS_WELL if one.share else 0.0
        for reading in readings(one):
            unlikely = reading.unlikely + more
            yield replace(reading, curves=(*reading.curves, noise), unlikely=unlikely)


def takes_means(scheduler: Scheduler, oracle: Oracle) -> bool:
    """True if a loop takes what its model answers for the mean of x_prev, and adds noise of a right
    size."""
    own = _measured(scheduler, oracle)
    if _steps(scheduler, oracle) is None or (own is not None and bool(own[0].step.x.any())):
        return False
    # Where x_prev is taken for the answer, a model that answers x_0 keeps it small.
    seen = _measured(scheduler.subject.reading(prediction_type="sample").scheduler(), oracle)
    if seen is None:
        return False
    step, slack = seen
    noise = size_of_noise(cast(Tensor, step.sigma), slack, step.setting, named=False)
    is_mean = bool(
        (step.step.x == 0).all() & ((step.step.out - 1).abs() <= step.step.out_error).all()
    )
    return is_mean and noise.is_right(atoms(step.level, step.betas))


def _steps(scheduler: Scheduler, oracle: Oracle) -> Steps | None:
    """The steps of the loop; None if none can be judged."""
    table = scheduler.alpha_bars(Oracle())
    run = look(scheduler.subject, table)
    visited = visits(run, oracle, scheduler.setting, table)
    return steps_of(run, oracle, scheduler.setting, table, visited)


def _measured(
    scheduler: Scheduler, oracle: Oracle, limited: bool = False
) -> tuple[Measured, Tensor] | None:
    """The steps as DDPM's, and how far off each sigma may be; of a loop with steps that are no
    sums, as one whose x0-hat is limited there, where that is allowed the others."""
    steps = _steps(scheduler, oracle)
    if steps is None or steps.run.z is None or (steps.run.drawn is None and not limited):
        return None
    run, calls = steps.run, clear(steps).calls
    if len(calls) < FEWEST:  # of what grows beyond all bounds x_t and the output are read still
        calls = steps.calls
    if len(calls) < 2:
        return None
    found = weighed(run.x, run.out, steps.run.z, calls)
    sums = found.whole if run.drawn is not None else _are_sums(steps, calls, found)
    if run.drawn is None and int(sums.sum()) >= FEWEST:
        calls, found = calls[sums], Weights(*(part[sums] for part in found))
    elif not bool(sums.all()):
        return None
    # With the margin that float32 is given elsewhere; what is not told from 0 is 0.
    off = FACTOR * normal_bound(RATE / len(calls)) * found.error
    values = torch.where(found.values.abs() > off, found.values, 0.0)
    x, out, sigma = values.T
    off_x, off_out, off_sigma = (FACTOR * UNIT * values.abs() + off).T
    level = steps.level.at(calls).map(lambda v: v.reshape(-1, 1))
    setting = replace(scheduler.setting, sampler=DDPM.name)
    pair = Pair(x, out, off_x, off_out)
    return Measured(setting, oracle, level, pair, sigma=sigma, betas=scheduler.betas()), off_sigma


def _are_sums(steps: Steps, calls: Tensor, found: Weights) -> Tensor:
    """(k,) True for the calls after which x is such a sum, up to float32's rounding."""
    run, ends = steps.run, steps.run.x[calls + 1]
    parts = [part[calls] for part in (run.x, run.out, cast(Tensor, run.z))]
    weights = [found.values[:, i].reshape(-1, 1, 1, 1, 1) for i in range(len(parts))]
    sums = [w * part for w, part in zip(weights, parts, strict=True)]
    size = sum((largest(part) for part in sums), largest(ends)).flatten()
    off = largest(ends - sum(sums, torch.zeros_like(ends))).flatten()
    return off <= FACTOR * FACTOR * UNIT * size


def sum_of_answers(scheduler: Scheduler, found: list[Account]) -> tuple[str, str] | None:
    """What to say, and to do, of a loop that mixes several answers with weights of another sum than
    1: in one of its accounts the mix is so many times what it should be, and all else is right."""
    mix = look(scheduler.subject, scheduler.alpha_bars(Oracle())).mix
    if mix is None or not mix.readable or mix.varies or not bool(mix.on.all()):
        return None
    for account in found:
        inner, (told, *more) = ~account.reading.atoms.end, account.told
        if more or told.at_0_alone or not told.curve.name.startswith("model output"):
            continue
        for right in told.curve.right:
            should, slack = right.value(account.reading.atoms)[inner], told.curve.slack[inner]
            factors = told.curve.measured[inner] / should
            times = float(factors.median())
            if bool(((factors - times) * should).abs().le(slack + FACTOR * UNIT).all()):
                weights = torch.tensor([float(f"{w:.4g}") for w in mix.main * times])
                words = f"your guidance is {mixed(weights)}: the weights sum to {times:.4g}, "
                return f"{words}should be 1", f"the answers weights of sum 1: {GUIDED}"
    return None


def other_table(scheduler: Scheduler, oracle: Oracle) -> tuple[str, str] | None:
    """What to say, and to do, of a loop whose steps are right by another table than the one that is
    shown, or by this one at other t than its model is told.

    The two weights of a step give alpha-bar before and after it. They are those of a table if each
    step begins where the one before has ended, at all of them.
    """
    seen, subject = _measured(scheduler, oracle), scheduler.subject
    if seen is None or seen[0].kind != "epsilon" or not bool(seen[0].step.x.all()):
        return None
    if not fewest_wrong(list(_of_kind(*seen, "epsilon"))):  # by the one that is shown
        return None
    step, t, sigma = seen[0].step, seen[0].t, seen[0].sigma
    assert sigma is not None
    table, end = seen[0].level.table.flatten(), seen[0].level.prev.flatten() < 0
    slack = table_bound(table) * table
    for levels in (_of_ddpm_s, partial(_of_ddim_s, sigma)):
        read = levels(step.x, step.out)
        moved = (levels(step.x + step.x_error, step.out), levels(step.x, step.out + step.out_error))
        off = sum(((other - read).abs() for other in moved), torch.zeros_like(read))
        (here, after), (off_here, off_after) = read, off
        sharp = off_here <= SHARP * torch.minimum(here, 1 - here)
        joined = (after[:-1] - here[1:]).abs() <= off_after[:-1] + off_here[1:]
        apart = (here - table[t]).abs() > off_here + slack[t]
        begins = (after - 1).abs() <= off_after + FACTOR * UNIT  # at t = 0
        is_table = bool(joined.all() & (here + off_here > 0).all() & (begins | ~end).all())
        if not (is_table and bool(sharp.double().mean() > 0.5) and bool((apart & sharp).any())):
            continue
        at = (here[:, None] - table).abs().argmin(dim=1)
        if bool(((here - table[at]).abs() <= off_here + slack[at]).all()):
            told, stands = (_ends(times.tolist()) for times in (t, at))
            words = f"your loop tells the model t={told} in its steps from t={stands}"
            return words, "the model the t from which the step goes"
        i = int(((here - table[t]).abs() * sharp).argmax())
        is_, should = apart_in_print(float(here[i]), float(table[t[i]]))
        one, its = ("the usual one", "that has") if subject.table_is_assumed else SHOWN
        noise = _has_noise_of(*(v[sharp & ~end] for v in (here, after, sigma)))
        right = "your loop is" if noise else "the means of your loop are"
        words = f"{right} right by another table than {one}"
        words = f"{words}: at t={int(t[i])} its alpha-bar is {is_}, {its} {should}"
        return words, "one table for all: show the loop's, or let it use this one"
    return None


def _has_noise_of(here: Tensor, after: Tensor, sigma: Tensor) -> bool:
    """True if the sizes of a loop's noise are one share of those of either variance between these
    alpha-bars."""
    beta = 1 - here / after
    for size in (beta.sqrt(), ((1 - after) / (1 - here) * beta).sqrt()):
        share = sigma / size
        if bool(((share - share.median()).abs() <= 2 * SHARP).all()):
            return True
    return False


def _ends(listed: list[int]) -> str:
    return ", ".join(map(str, listed[:2])) + f", ..., {listed[-1]}"


def _of_ddpm_s(x: Tensor, out: Tensor) -> Tensor:
    """(2, k) alpha-bar before and after steps of DDPM with these weights of x_t and eps."""
    alpha = 1 / x**2
    here = 1 - ((1 - alpha) * x / out) ** 2
    return torch.stack([here, here / alpha])


def _of_ddim_s(sigma: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """The same of DDIM with this noise, by bisection: out = sqrt(1 - x^2 ab - sigma^2) - x sqrt(1 -
    ab)."""
    low, high = torch.zeros_like(x), ((1 - sigma**2) / x**2).clamp(0, 1)
    for _ in range(60):
        middle = (low + high) / 2
        direction = (1 - x**2 * middle - sigma**2).clamp(min=0).sqrt()
        above = direction - x * (1 - middle).sqrt() > out
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.stack([low, x**2 * low])

"""Stage loss (the role `loss`): a perfect model has loss 0, a zero model 1, every t is trained."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, log

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop_calls import loop_told
from compare.candidate.loss_calls import HEIGHT, OFF, TIMES, Inside, Seen, look, look_inside
from compare.candidate.spy import read_told
from compare.candidate.subject import Subject
from compare.measure import law as laws
from compare.measure.check import Check, guarded, note, within, yes_no
from compare.measure.noise import moments, neighbours
from compare.measure.tolerances import (
    FACTOR,
    HALF_UNIT,
    RATE,
    TOLERANCES,
    UNIT,
    once_in,
    table_bound,
)
from compare.oracle import Oracle, Setting
from compare.oracle.algorithms import TARGETS
from compare.stages.stage import Stage

BATCH, PIXELS = 32, 192  # of the images whose losses are known


@dataclass(frozen=True)
class Rounding:
    """What the precision of a loss may do, by the dtype of what its model was given.

    Attributes:
        unit: half the distance between neighbours of that dtype, relative.
        table: (T,) how far off each alpha-bar may be, relative.
        noise: (T,) how far the noise in x_t may be from what the model is asked for.
        sums: how far a sum over a batch may be off, relative.
    """

    unit: float
    table: Tensor
    noise: Tensor
    sums: float

    def left(self, kind: str, table: Tensor) -> Tensor:
        """(T,) the mean square that is left of a perfect model's error."""
        return (TARGETS[kind](table)[0] * self.noise).square() + (FACTOR * self.unit) ** 2


def _rounding(seen: Seen, table: Tensor) -> Rounding:
    """The loss has its own alpha-bars, and x_t, of mean square 1 at most, is rounded."""
    unit, own = HALF_UNIT.get(seen.dtype, UNIT), table_bound(table)
    signal, level = table.sqrt(), (1 - table).clamp(min=1e-12).sqrt()
    noise = FACTOR * unit / level + own / 2 * (signal * HEIGHT / level + table / level.square())
    return Rounding(unit, own, noise, UNIT * BATCH * PIXELS + 2 * FACTOR * unit)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Range of the images, law of the noise, cover of t, values for known models."""
    yield from guarded("loss/run", _checks(subject, oracle))


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    table = subject.scheduler().alpha_bars(Oracle())
    # (1 - 1/T)^n < exp(-n/T) is the chance that n draws miss a t; both ends are looked at.
    calls = max(2, ceil(len(table) * log(2 / RATE) / TIMES))
    seen = subject.remember(("loss",), lambda: look(subject, table, calls))
    rounding = _rounding(seen, table)
    errors, rounded = laws.normal_bound(RATE / 2), FACTOR * rounding.unit * HEIGHT
    inside = look_inside(seen, table, oracle, errors, rounded)
    yield _range(inside, oracle)
    yield from _times(seen, oracle, subject.setting)
    if len(seen.t.unique()) > 1:
        yield from _told(subject, seen, table)
    if seen.gain is not None:
        yield _signal(seen, seen.gain, inside, oracle, rounding)
    yield from _noise(seen, inside, oracle, rounding)
    # The losses below are those of right x_t of the images that were given.
    right = look_inside(seen, table, Oracle(), errors, rounded)
    off = (inside.noise - right.noise).abs().amax(dim=1)
    given = (oracle.loss.scale, oracle.loss.shift) == (1.0, 0.0) and inside.is_range(1.0, 0.0)
    if given and bool((off <= rounding.noise[seen.x_t]).all()):
        yield from _values(seen, inside, oracle, subject.setting, rounding)


def _range(inside: Inside, oracle: Oracle) -> Check:
    wanted = [oracle.loss.scale * v + oracle.loss.shift for v in (HEIGHT, -HEIGHT)]
    off = max(abs(inside.bright - wanted[0]), abs(inside.dark - wanted[1]))
    said = (
        f"pixels of {HEIGHT} and {-HEIGHT} reach the model as {inside.bright:.2f} and "
        f"{inside.dark:.2f}"
    )
    return yes_no(
        "loss/range",
        off <= inside.allowed,
        said,
        f"{said}: the images are rescaled",
        measured=off,
        allowed=inside.allowed,
        input="images in [-1, 1]",
        reason=TOLERANCES["law"].why,
    )


def _signal(seen: Seen, gain: Tensor, inside: Inside, oracle: Oracle, rounding: Rounding) -> Check:
    """The coefficient of x_0 at every t that was drawn, exactly."""
    right = oracle.loss.scale * inside.signal
    of_x = rounding.unit * seen.x.abs().mean(dim=1) / HEIGHT
    allowed = of_x + right * (FACTOR * rounding.unit + rounding.table[seen.x_t] / 2)
    off = (gain - right).abs()
    i = int((off / allowed).nan_to_num(torch.inf).argmax())
    return within(
        "loss/signal",
        float(off[i]),
        float(allowed[i]),
        f"x_t has {float(gain[i]):.4f} of x_0 at t={int(seen.x_t[i])}, should have "
        f"{float(right[i]):.4f}",
        reason="rounding of two x_t, and of every alpha up to t",
        input="images in [-1, 1] and their negatives, one seed",
    )


def _times(seen: Seen, oracle: Oracle, setting: Setting) -> Iterator[Check]:
    T, how = setting.num_train_timesteps, oracle.loss
    varied = len(seen.t.unique()) > 1
    yield yes_no(
        "loss/drawn",
        varied,
        "t is drawn anew for every batch",
        f"t is {int(seen.t[0, 0])} in every batch: nothing else is trained",
        reason=f"{seen.t.numel()} draws are equal by chance less often than {once_in(RATE)}",
    )
    if not varied:
        return
    distinct = min(len(row.unique()) for row in seen.t)
    yield yes_no(
        "loss/per-image",
        (distinct > 1) == how.per_image,
        "every image has its own t",
        "all images of a batch have the same t",
        measured=float(distinct),
        reason=f"{TIMES} draws are equal by chance less often than {once_in(RATE)}",
    )
    if distinct == 1:
        return  # too few different t to say what they cover
    low, high, base = int(seen.t.min()), int(seen.t.max()), seen.told.base
    yield yes_no(
        "loss/cover",
        low - base == how.low and high - base == T - 1 - how.high,
        f"t covers {low}..{high}",
        f"t covers {low}..{high}, should cover 0..{T - 1}",
        reason=TOLERANCES["count"].why,
    )


def _told(subject: Subject, seen: Seen, table: Tensor) -> Iterator[Check]:
    """What the model is told for t, and whether a loop tells it the same at one level of noise.

    A loop of fewer steps may be on a list of its own, by which what t counts from is not known.
    """
    if seen.told.base:
        alone = "" if subject.has("sample") else " (mistake 77 if sampling counts from 0)"
        yield note("loss/t-base", f"t counts from 1{alone}")
    if seen.told.unit != 1:
        yield note("loss/t-scale", f"the model is told {seen.told.words}")
    if not subject.has("sample"):
        return
    with suppress(Broken):  # a loop that gives no answer is told by its own stage
        calls = loop_told(subject, table)
        loop = read_told(calls, len(table))
        if loop is None or len(calls) < len(table) - 1:
            return
        check = yes_no(
            "loss/told",
            loop == seen.told,
            f"loss and loop tell the model {loop} at the same level of noise",
            f"the loss tells the model {seen.told} at the level of noise at which the loop tells "
            f"it {loop} (t = 0 is one step of noise)",
        )
        yield replace(check, right="the same in loss and loop at the same level of noise")


def _noise(seen: Seen, inside: Inside, oracle: Oracle, rounding: Rounding) -> Iterator[Check]:
    """The law of what is left of x_t after the image: at each third of t, and of neighbours.

    The noise of `rand` varies less than normal noise.
    """
    aims = {"mean": oracle.loss.noise.mean, "std": oracle.loss.noise.std}
    exact = inside.is_range(oracle.loss.scale, oracle.loss.shift)
    share = rounding.noise[seen.x_t]
    if not exact:  # then the image is known by that range alone
        share = share + inside.allowed * inside.signal / inside.level
    for third, words in enumerate(("lower", "middle", "upper")):
        here = inside.third == third
        if not bool(here.any()):
            continue
        for name, statistic in moments(inside.noise[here]).items():
            yield within(
                f"loss/noise/{name}-{words}",
                abs(statistic.value - aims[name]),
                statistic.allowed(share=_root_mean_square(share[here])),
                f"{name} of the noise in the {words} third of t is {statistic.value:.3f}, should "
                f"be {aims[name]:.3f}",
                reason=statistic.reason(),
            )
    z = (inside.noise - inside.noise.mean()).reshape(-1, BATCH, PIXELS)
    for what, axis in (("images", 1), ("pixels", 2)):
        alike = neighbours(z, axis)
        yield within(
            f"loss/noise/{what}",
            abs(alike.value),
            alike.allowed(share=_root_mean_square(share)),
            f"the correlation of the noise of neighbouring {what} is {abs(alike.value):.3f}, "
            "should be 0",
            reason=alike.reason(),
        )


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _values(
    seen: Seen, inside: Inside, oracle: Oracle, setting: Setting, rounding: Rounding
) -> Iterator[Check]:
    """What known models cost: perfect, zero, wrong everywhere, wrong at one image."""
    table = oracle.alpha_bar(setting)
    factor = float(oracle.loss.reduce(torch.ones(BATCH, PIXELS)))
    left = rounding.left(setting.prediction_type, table)
    rounded = float(left[seen.perfect_t].mean())
    perfect, allowed = _perfect(seen, oracle, setting)
    size, near = float(inside.noise.abs().mean()), float(rounding.noise[seen.x_t].mean())
    absolute = perfect == 0 and abs(seen.zero - size) <= rounding.sums * size + near
    nothing = rounded**0.5 if absolute else rounded  # what is left of a perfect model's loss
    allowed += 2 * (perfect * rounded) ** 0.5 + nothing + rounding.sums * perfect
    off = abs(seen.perfect - factor * perfect)
    yield yes_no(
        "loss/perfect",
        off <= factor * allowed,
        f"a perfect model has loss {factor * perfect:.3g}",
        f"a perfect model has loss {seen.perfect:.3g}, should have {factor * perfect:.3g}",
        measured=off,
        allowed=factor * allowed,
        reason="rounding of x_t and of alpha-bar, divided by the noise level at each t",
    )
    alike = rounding.sums + BATCH * float(left.max()) / HEIGHT**2  # of one image's share of a loss
    most, least = float(seen.spoiled.max()), float(seen.spoiled.min())
    weighted = seen.perfect <= factor * nothing and most - least > alike * most
    if absolute:
        yield note("loss/zero", "a zero model has loss 0.80: the loss is absolute (L1)")
    elif not weighted:
        yield _zero(seen, oracle, setting, factor, rounding)
    yield _pixels(seen, oracle, factor, rounded, rounding)
    yield from _images(seen, oracle, weighted, alike)


def _perfect(seen: Seen, oracle: Oracle, setting: Setting) -> tuple[float, float]:
    """The mean square of what a perfect model is off by at the t drawn, and its bound."""
    how, kind = oracle.loss, setting.prediction_type
    table = oracle.alpha_bar(setting)
    (c_eps, c_x), (k_eps, k_x) = (how.target or TARGETS[kind])(table), TARGETS[kind](table)
    scale, shift = (c_eps - k_eps)[seen.perfect_t], (c_x - k_x)[seen.perfect_t] * HEIGHT
    if how.redrawn:
        scale, shift = 2**0.5 * c_eps[seen.perfect_t], 0 * shift
    mean = float((scale**2 * how.noise.power + shift**2).mean())
    return mean, laws.of_squares(scale, shift, PIXELS, RATE) if mean else 0.0


def _zero(seen: Seen, oracle: Oracle, setting: Setting, factor: float, rounding: Rounding) -> Check:
    """The mean square of the target at the t drawn, which is what a zero model is off by."""
    how = oracle.loss
    parts = (how.target or TARGETS[setting.prediction_type])(oracle.alpha_bar(setting))
    scale, shift = (part[seen.x_t] for part in (parts[0], parts[1] * HEIGHT))
    zero = float((scale**2 * how.noise.power + shift**2).mean())
    allowed = laws.of_squares(scale, shift, PIXELS, RATE) + rounding.sums * zero
    off = abs(seen.zero / factor - zero)
    return yes_no(
        "loss/zero",
        off <= allowed,
        f"a zero model has loss {seen.zero:.3g}",
        f"a zero model has loss {seen.zero:.4g}, should have {factor * zero:.3g}",
        measured=off,
        allowed=allowed,
        reason=f"mean square of {scale.numel() * PIXELS} targets: {TOLERANCES['law'].why}",
    )


def _pixels(seen: Seen, oracle: Oracle, factor: float, rounded: float, rounding: Rounding) -> Check:
    """Every pixel adds its own error: OFF everywhere costs as much as OFF and -OFF.

    What is left of a target that is off, r, adds 2 OFF mean(r) to one, 2 OFF mean(+-r) to the
    other, of OFF^2.
    """
    off, pixels = abs(seen.flat - seen.chequered), max(seen.flat, seen.chequered)
    ones, signs = torch.ones(BATCH, PIXELS), torch.tensor([1.0, -1.0]).repeat(PIXELS // 2)
    alike = bool(oracle.loss.reduce(ones) == oracle.loss.reduce(ones * signs))
    left = 2 * seen.perfect / factor / (BATCH * PIXELS)
    drawn = laws.normal_bound(RATE) * left**0.5
    # Of the 4 batches of `rounded` this is one, and r may be rounded the same way everywhere.
    allowed = pixels * (rounding.sums + 2 * (drawn + 2 * (4 * rounded) ** 0.5) / OFF)
    return yes_no(
        "loss/pixels",
        (off <= allowed) == alike,
        "every pixel adds the size of its own error",
        f"errors of {OFF:.0f} at every pixel cost {seen.flat:.3g}, errors of {OFF:.0f} and "
        f"{-OFF:.0f} {seen.chequered:.3g}: they are averaged before they are squared",
        measured=off,
        allowed=allowed,
        reason=f"what is left of a target that is off: {TOLERANCES['law'].why}",
    )


def _images(seen: Seen, oracle: Oracle, weighted: bool, alike: float) -> Iterator[Check]:
    """Every image adds its own error, with its own weight."""
    how, rows = oracle.loss, seen.spoiled
    alone = torch.eye(BATCH).unsqueeze(2)  # (batches, b, 1): each an error of one image
    yield yes_no(
        "loss/images",
        seen.adds == all(float(how.reduce(row)) > 0 for row in alone),
        "every image adds to the loss",
        "an image of the batch adds nothing to the loss",
    )
    apart = float((rows.amax(dim=1) - rows.amin(dim=1)).max())
    yield yes_no(
        "loss/weights",
        (weighted and apart <= alike * float(rows.abs().max())) == how.crossed,
        "an image adds its own weighted loss",
        "every image of a batch gets the same weight, another in each batch",
    )


LOSS = Stage(
    name="loss",
    looks_at="the role `loss`",
    right="mean of (noise - model(x_t, t))^2, t uniform in 0..T-1 per image (Ho et al. eq. 14)",
    page="loss",
    checks=checks,
    needs="loss",
)

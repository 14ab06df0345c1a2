"""Stage loss (the role `loss`): a perfect model has loss 0, a zero model 1, every t is trained."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.loss_calls import HEIGHT, Inside, Seen, look, look_inside
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note, within, yes_no
from compare.measure.noise_law import SIX
from compare.measure.tolerances import FACTOR, HALF_UNIT, TOLERANCES, UNIT
from compare.oracle import Oracle, Setting
from compare.stages.stage import Stage


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Range of the images, law of the noise, cover of t, values for known models."""
    yield from guarded("loss/run", _checks(subject, oracle))


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    table = subject.scheduler().alpha_bars(Oracle())
    seen = subject.remember(("loss",), lambda: look(subject, table))
    inside = look_inside(seen, table, oracle)
    yield _range(inside, oracle)
    yield from _times(seen, oracle, subject.setting)
    if seen.gain is not None:
        yield _signal(seen, seen.gain, inside, oracle)
    yield from _noise(inside, oracle)
    right = look_inside(seen, table, replace(oracle, add_noise=Oracle().add_noise))
    if inside.is_range(1.0, 0.0) and bool((inside.noise - right.noise).abs().max() < 1e-3):
        yield from _values(seen, oracle, subject.setting)


def _range(inside: Inside, oracle: Oracle) -> Check:
    said = (
        f"pixels of {HEIGHT} and {-HEIGHT} reach the model as {inside.bright:.2f} and "
        f"{inside.dark:.2f}"
    )
    return yes_no(
        "loss/range",
        inside.is_range(oracle.loss.scale, oracle.loss.shift),
        said,
        f"{said}: the images are rescaled",
        allowed=0.04,
        input="images in [-1, 1]",
    )


def _signal(seen: Seen, gain: Tensor, inside: Inside, oracle: Oracle) -> Check:
    """The coefficient of x_0 at every t that was drawn, exactly."""
    right = oracle.loss.scale * inside.signal
    off = (gain - right).abs()
    i = int(off.argmax())
    return within(
        "loss/signal",
        float(off[i]),
        1e-5 + FACTOR * HALF_UNIT.get(seen.dtype, UNIT),
        f"x_t has {float(gain[i]):.4f} of x_0 at t={int(seen.x_t[i])}, should have "
        f"{float(right[i]):.4f}",
        reason="float32 rounding of two x_t and of alpha-bar",
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
    )
    if distinct == 1:
        return  # too few different t to say what they cover
    low, high, base = int(seen.t.min()), int(seen.t.max()), seen.base
    yield yes_no(
        "loss/cover",
        low - base == how.low and high - base == T - 1 - how.high,
        f"t covers {low}..{high}",
        f"t covers {low}..{high}, should cover 0..{T - 1}",
        reason=f"a t of {T} is missed by chance with probability 1e-9",
    )
    if base:
        yield note("loss/t-base", "t counts from 1 (mistake 77 if sampling counts from 0)")


def _noise(inside: Inside, oracle: Oracle) -> Iterator[Check]:
    """The law of what is left of x_t after the image: at each third of t, and of neighbours."""
    centre, spread = (0.0, 1.0) if oracle.loss.noise == "normal" else (0.5, 12**-0.5)
    if oracle.add_noise is not Oracle().add_noise:  # then the levels are looked for, not the law
        spread = 1.0
    for third, words in enumerate(("lower", "middle", "upper")):
        noise = inside.noise[inside.third == third].flatten()
        if len(noise) < 1000:
            continue
        for name, got, wanted in (
            ("mean", float(noise.mean()), centre),
            ("std", float(noise.std()), spread),
        ):
            yield within(
                f"loss/noise/{name}-{words}",
                abs(got - wanted),
                2 * SIX * len(noise) ** -0.5 + 0.01,
                f"{name} of the noise in the {words} third of t is {got:.3f}, should be "
                f"{wanted:.3f}",
                reason=TOLERANCES["law"].reason,
            )
    z = (inside.noise - inside.noise.mean()).reshape(-1, 32, inside.noise.shape[1])
    for what, one, other in (("images", z[:, 1:], z[:, :-1]), ("pixels", z[..., 1:], z[..., :-1])):
        alike = abs(float((one * other).mean() / z.square().mean()))
        yield within(
            f"loss/noise/{what}",
            alike,
            2 * SIX * one.numel() ** -0.5,
            f"the correlation of the noise of neighbouring {what} is {alike:.3f}, should be 0",
            reason=TOLERANCES["law"].reason,
        )


def _parts(kind: str, table: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) what noise and image weigh in what a model of this kind predicts."""
    one, signal, level = torch.ones_like(table), table.sqrt(), (1 - table).sqrt()
    parts = {
        "epsilon": (one, 0 * one),
        "sample": (0 * one, one),
        "v_prediction": (signal, -level),
        "minus": (-one, 0 * one),
        "v_sum": (signal, level),
        "v_minus": (-signal, level),
        "v_swapped": (level, -signal),
    }
    return parts[kind]


def _values(seen: Seen, oracle: Oracle, setting: Setting) -> Iterator[Check]:
    """What known models cost: perfect, zero, wrong everywhere, wrong at one image."""
    how = oracle.loss
    if (how.scale, how.shift) != (1.0, 0.0):
        return  # the exact answers below are those for the images that were given
    perfect, zero = _costs(seen, oracle, setting)
    factor = {"mean": 1.0, "sum": 32.0 * 192, "batch": 192.0}.get(how.reduce, 1.0)
    most, least = float(seen.spoiled.max()), float(seen.spoiled.min())
    weighted = seen.perfect <= 1e-4 and most - least > 0.02 * most
    yield yes_no(
        "loss/perfect",
        abs(seen.perfect - factor * perfect) <= 1e-4 + 0.1 * factor * perfect,
        f"a perfect model has loss {factor * perfect:.3g}",
        f"a perfect model has loss {seen.perfect:.3g}, should have {factor * perfect:.3g}",
        measured=abs(seen.perfect - factor * perfect),
        allowed=1e-4,
        reason="float32 rounding of x_t, divided by the noise level at t = 0",
    )
    if seen.absolute and perfect == 0:
        yield note("loss/zero", "a zero model has loss 0.80: the loss is absolute (L1)")
    elif not weighted:
        off = abs(seen.zero / factor - zero)
        yield yes_no(
            "loss/zero",
            off < 0.03 * zero,
            f"a zero model has loss {seen.zero:.3g}",
            f"a zero model has loss {seen.zero:.4g}, should have {factor * zero:.3g}",
            measured=off,
            allowed=0.03 * zero,
            reason="6 standard errors",
        )
    yield from _reduction(seen, oracle, weighted)


def _costs(seen: Seen, oracle: Oracle, setting: Setting) -> tuple[float, float]:
    """The mean square of what a perfect model, and a zero model, is off by at the t drawn."""
    how, kind = oracle.loss, setting.prediction_type
    table = oracle.alpha_bar(setting)
    (c_eps, c_x), (k_eps, k_x) = _parts(how.target or kind, table), _parts(kind, table)
    power, image = 1.0 if how.noise == "normal" else 1 / 3, HEIGHT**2
    square = (c_eps - k_eps) ** 2 * power + (c_x - k_x) ** 2 * image
    perfect = float((2 * c_eps**2 if how.redrawn else square)[seen.perfect_t].mean())
    return perfect, float((c_eps**2 * power + c_x**2 * image)[seen.x_t].mean())


def _reduction(seen: Seen, oracle: Oracle, weighted: bool) -> Iterator[Check]:
    """Every pixel and every image adds its own error, with its own weight."""
    how, rows = oracle.loss, seen.spoiled
    off, pixels = abs(seen.flat - seen.chequered), max(seen.flat, seen.chequered)
    yield yes_no(
        "loss/pixels",
        (off <= 0.1 * pixels) == (how.reduce != "before"),
        "every pixel adds the size of its own error",
        f"errors of 4 at every pixel cost {seen.flat:.3g}, errors of 4 and -4 "
        f"{seen.chequered:.3g}: they are averaged before they are squared",
        measured=off,
        allowed=0.1 * pixels,
        reason="what is left of a target that is off",
    )
    each = bool((rows > 1e-7 * rows.max()).all())  # less is rounding
    yield yes_no(
        "loss/images",
        each == (how.reduce != "first"),
        "every image adds to the loss",
        "an image of the batch adds nothing to the loss",
    )
    alike = bool((rows[:, 0] - rows[:, 1]).abs().max() < 1e-3 * rows.abs().max())
    yield yes_no(
        "loss/weights",
        (weighted and alike) == how.crossed,
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

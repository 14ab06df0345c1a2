"""Stage loss (the role `loss`): a perfect model has loss 0, a zero model 1, every t is trained."""

from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.loss_calls import HEIGHT, Inside, Seen, look, look_inside
from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger
from compare.measure.noise_law import SIX
from compare.measure.probe import alpha_bars
from compare.measure.tolerances import FACTOR, TOLERANCES
from compare.oracle import Oracle, Setting
from compare.verdict.report import Check


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Range of the images, law of the noise, cover of t, values for known models."""
    ledger = Ledger("loss", subject.strict)
    if subject.adapter is None or subject.adapter.loss is None:
        return ledger.checks
    with ledger.guard("run"):
        table = alpha_bars(subject, Oracle(), subject.setting)
        seen = subject.remember(("loss",), lambda: look(subject, table))
        inside = look_inside(seen, table, oracle)
        _range(ledger, inside, oracle)
        _times(ledger, seen, oracle, subject.setting)
        _signal(ledger, seen, inside, oracle)
        _noise(ledger, inside, oracle)
        right = look_inside(seen, table, replace(oracle, add_noise=Oracle().add_noise))
        if inside.is_range(1.0, 0.0) and bool((inside.noise - right.noise).abs().max() < 1e-3):
            _values(ledger, seen, oracle, subject.setting)
    return ledger.checks


def _range(ledger: Ledger, inside: Inside, oracle: Oracle) -> None:
    how = oracle.loss
    said = (
        f"pixels of {HEIGHT} and {-HEIGHT} reach the model as {inside.bright:.2f} and "
        f"{inside.dark:.2f}"
    )
    ledger.judge("range", inside.is_range(how.scale, how.shift), said,
                 f"{said}: the images are rescaled", allowed=0.04, input="images in [-1, 1]",
                 catches="mistakes 34-36")  # fmt: skip


def _signal(ledger: Ledger, seen: Seen, inside: Inside, oracle: Oracle) -> None:
    """The coefficient of x_0 at every t that was drawn, exactly."""
    if seen.gain is None:
        return
    right = oracle.loss.scale * inside.signal
    off = (seen.gain - right).abs()
    allowed = 1e-5 + FACTOR * seen.unit
    i = int(off.argmax())
    ledger.add("signal", "close" if float(off[i]) <= allowed else "differs",
               f"x_t has {float(seen.gain[i]):.4f} of x_0 at t={int(seen.x_t[i])}, should have "
               f"{float(right[i]):.4f}", measured=float(off[i]), allowed=allowed,
               reason="float32 rounding of two x_t and of alpha-bar",
               input="images in [-1, 1] and their negatives, one seed",
               catches="mistakes 4, 5, 34-36")  # fmt: skip


def _times(ledger: Ledger, seen: Seen, oracle: Oracle, setting: Setting) -> None:
    T, how = setting.num_train_timesteps, oracle.loss
    varied = len(seen.t.unique()) > 1
    ledger.judge("drawn", varied, "t is drawn anew for every batch",
                 f"t is {int(seen.t[0, 0])} in every batch: nothing else is trained",
                 catches="mistakes 19, 20")  # fmt: skip
    if not varied:
        return
    distinct = min(len(row.unique()) for row in seen.t)
    ledger.judge("per-image", (distinct > 1) == how.per_image, "every image has its own t",
                 "all images of a batch have the same t", measured=float(distinct),
                 catches="mistake 19")  # fmt: skip
    if distinct == 1:
        return  # too few different t to say what they cover
    low, high, base = int(seen.t.min()), int(seen.t.max()), seen.base
    ok = low - base == how.low and high - base == T - 1 - how.high
    ledger.judge("cover", ok, f"t covers {low}..{high}",
                 f"t covers {low}..{high}, should cover 0..{T - 1}",
                 reason=f"a t of {T} is missed by chance with probability 1e-9",
                 catches="mistake 20")  # fmt: skip
    if base:
        ledger.add("t-base", "note", "t counts from 1 (mistake 77 if sampling counts from 0)")


def _noise(ledger: Ledger, inside: Inside, oracle: Oracle) -> None:
    centre, spread = (0.0, 1.0) if oracle.loss.noise == "normal" else (0.5, 12**-0.5)
    if oracle.add_noise is not Oracle().add_noise:  # then the levels are looked for, not the law
        spread = 1.0
    for third, words in enumerate(("lower", "middle", "upper")):
        noise = inside.noise[inside.third == third].flatten()
        if len(noise) < 1000:
            continue
        allowed = 2 * SIX * len(noise) ** -0.5 + 0.01
        for name, got, wanted in (
            ("mean", float(noise.mean()), centre),
            ("std", float(noise.std()), spread),
        ):
            off = abs(got - wanted)
            ledger.add(f"noise/{name}-{words}", "close" if off <= allowed else "differs",
                       f"{name} of the noise in the {words} third of t is {got:.3f}, should be "
                       f"{wanted:.3f}", measured=off, allowed=allowed,
                       reason=TOLERANCES["law"].reason, catches="mistakes 6, 17")  # fmt: skip
    z = (inside.noise - inside.noise.mean()).reshape(-1, 32, inside.noise.shape[1])
    for what, one, other in (("images", z[:, 1:], z[:, :-1]), ("pixels", z[..., 1:], z[..., :-1])):
        alike = abs(float((one * other).mean() / z.square().mean()))
        allowed = 2 * SIX * one.numel() ** -0.5
        ledger.add(f"noise/{what}", "close" if alike <= allowed else "differs",
                   f"the correlation of the noise of neighbouring {what} is {alike:.3f}, should "
                   "be 0", measured=alike, allowed=allowed, reason=TOLERANCES["law"].reason,
                   catches="mistake 62")  # fmt: skip


def _parts(kind: str, table: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) what noise and image weigh in what a model of this kind predicts."""
    one, signal, level = torch.ones_like(table), table.sqrt(), (1 - table).sqrt()
    parts = {"epsilon": (one, 0 * one), "sample": (0 * one, one), "v_prediction": (signal, -level),
             "minus": (-one, 0 * one), "v_sum": (signal, level), "v_minus": (-signal, level),
             "v_swapped": (level, -signal)}  # fmt: skip
    return parts[kind]


def _values(ledger: Ledger, seen: Seen, oracle: Oracle, setting: Setting) -> None:
    how, kind = oracle.loss, setting.prediction_type
    if (how.scale, how.shift) != (1.0, 0.0):
        return  # the exact answers below are those for the images that were given
    target, table = how.target or kind, oracle.alpha_bar(setting)
    (c_eps, c_x), (k_eps, k_x) = _parts(target, table), _parts(kind, table)
    power, image = 1.0 if how.noise == "normal" else 1 / 3, HEIGHT**2
    square = (c_eps - k_eps) ** 2 * power + (c_x - k_x) ** 2 * image
    perfect = float((2 * c_eps**2 if how.redrawn else square)[seen.perfect_t].mean())
    zero = float((c_eps**2 * power + c_x**2 * image)[seen.x_t].mean())
    factor = {"mean": 1.0, "sum": 32.0 * 192, "batch": 192.0}.get(how.reduce, 1.0)
    ledger.judge("perfect",
                 abs(seen.perfect - factor * perfect) <= 1e-4 + 0.1 * factor * perfect,
                 f"a perfect model has loss {factor * perfect:.3g}",
                 f"a perfect model has loss {seen.perfect:.3g}, should have {factor * perfect:.3g}",
                 measured=abs(seen.perfect - factor * perfect), allowed=1e-4,
                 reason="float32 rounding of x_t, divided by the noise level at t = 0",
                 catches="mistakes 18, 26, 27")  # fmt: skip
    most, least = float(seen.spoiled.max()), float(seen.spoiled.min())
    weighted = seen.perfect <= 1e-4 and most - least > 0.02 * most
    if seen.absolute and perfect == 0:
        ledger.add("zero", "note", "a zero model has loss 0.80: the loss is absolute (L1)")
    elif not weighted:
        off = abs(seen.zero / factor - zero)
        ledger.judge("zero", off < 0.03 * zero, f"a zero model has loss {seen.zero:.3g}",
                     f"a zero model has loss {seen.zero:.4g}, should have {factor * zero:.3g}",
                     measured=off, allowed=0.03 * zero, reason="6 standard errors",
                     catches="mistakes 17, 32")  # fmt: skip
    off, pixels = abs(seen.flat - seen.chequered), max(seen.flat, seen.chequered)
    ledger.judge("pixels", (off <= 0.1 * pixels) == (how.reduce != "before"),
                 "every pixel adds the size of its own error",
                 f"errors of 4 at every pixel cost {seen.flat:.3g}, errors of 4 and -4 "
                 f"{seen.chequered:.3g}: they are averaged before they are squared",
                 measured=off, allowed=0.1 * pixels,
                 reason="what is left of a target that is off", catches="mistake 32")  # fmt: skip
    rows = seen.spoiled
    each = bool((rows > 1e-7 * rows.max()).all())  # less is rounding
    ledger.judge("images", each == (how.reduce != "first"), "every image adds to the loss",
                 "an image of the batch adds nothing to the loss",
                 catches="mistake 32")  # fmt: skip
    alike = bool((rows[:, 0] - rows[:, 1]).abs().max() < 1e-3 * rows.abs().max())
    crossed = weighted and alike
    ledger.judge("weights", crossed == how.crossed, "an image adds its own weighted loss",
                 "every image of a batch gets the same weight, another in each batch",
                 catches="mistake 23")  # fmt: skip

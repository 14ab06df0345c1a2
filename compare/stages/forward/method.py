"""add_noise and get_velocity of images of every shape; what is wrong in both is said once."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.spy import per_image
from compare.measure.check import Check, found, guarded, note
from compare.measure.tolerances import FACTOR, UNIT
from compare.measure.values import deviation, values
from compare.oracle import F64, Oracle
from compare.stages.forward.images import (
    COEFFICIENTS,
    Coefficients,
    Formula,
    Images,
    answer,
    coefficients,
    expected_of,
    given_to,
    own_coefficients,
)

CLEAR = 1e-3  # of a coefficient: what six digits show at every t
VELOCITY = (
    "v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, called as "
    "get_velocity(x_0, noise, t) (Salimans & Ho, section 4)"
)


def method_of_images(
    scheduler: Scheduler, method: str, oracle: Oracle, formula: Formula
) -> Iterator[Check]:
    """`add_noise` or `get_velocity` of all images.

    What is wrong in its two coefficients is said once: the other images follow from them.
    """
    off = slipped(scheduler, method, oracle, formula)
    for given in given_to(scheduler):
        judged = _of_images(scheduler, method, given, oracle, formula)
        for check in guarded(f"forward/{method}/{given.name}", judged, quiet=given.odd):
            if off is None or check.status != "differs":
                yield check
            elif given.name == COEFFICIENTS:
                yield _told(check, scheduler, method, oracle, off)
            else:
                yield _following(check, scheduler, method, given, off)
    if method == "add_noise":
        yield from guarded("forward/add_noise/t-(1,b)", _flattened(scheduler, oracle), quiet=True)


def slipped(
    scheduler: Scheduler, method: str, oracle: Oracle, formula: Formula
) -> Coefficients | None:
    """The method's own coefficients, if it has such and the formula looked for has others."""
    with suppress(Broken):
        judged = _of_images(scheduler, method, next(given_to(scheduler)), oracle, formula)
        if not all(check.passed for check in judged):
            return own_coefficients(scheduler, method)
    return None


def _of_images(
    scheduler: Scheduler, method: str, given: Images, oracle: Oracle, formula: Formula
) -> Iterator[Check]:
    id, table = f"forward/{method}/{given.name}", scheduler.alpha_bars(oracle)
    try:
        got = answer(scheduler, method, given)
    except Broken as broken:
        if not _also_raises(formula, given, table):
            raise
        yield found(id, "close", f"{broken}, as the formula looked for does")
        return
    ts = given.t.flatten().tolist()
    yield values(
        id,
        method,
        got,
        expected_of(formula, given, table),
        expected_of(formula, given, oracle.alpha_bar(scheduler.setting)),
        where=lambda at: f"t={ts[min(at[0], len(ts) - 1)]}, image {at[0]}",
        input=f"images {tuple(given.x_0.shape)} {given.x_0.dtype}, t of shape "
        f"{tuple(given.t.shape)}",
        right=VELOCITY if method == "get_velocity" else "",
    )


def _also_raises(formula: Formula, given: Images, table: Tensor) -> bool:
    x_0, noise = given.x_0.to(F64), given.noise.to(F64)
    try:
        return formula(x_0, noise, table, given.t).shape != x_0.shape
    except (RuntimeError, IndexError):
        return True


def _told(
    check: Check, scheduler: Scheduler, method: str, oracle: Oracle, own: Coefficients
) -> Check:
    """The check, in the words of the coefficients that are off: at both ends, in the middle and
    where it is worst, beside what they should be."""
    T, table = len(own[0]), scheduler.alpha_bars(oracle)
    formula = oracle.add_noise if method == "add_noise" else oracle.velocity
    right = coefficients(formula, table, torch.ones(T, 1, 2, 3, dtype=F64), torch.arange(T))
    gaps = [(has - wanted).abs() / wanted.abs() for has, wanted in zip(own, right, strict=True)]
    worst = int(torch.stack(gaps).amax(0).nan_to_num(0.0).argmax())
    ts, said = sorted({0, T // 2, worst, T - 1}), []
    for name, has, wanted, gap in zip(("x_0", "the noise"), own, right, gaps, strict=True):
        if float(gap.max()) > CLEAR:
            is_now, should = (", ".join(f"{float(v[t]):.6g}" for t in ts) for v in (has, wanted))
            said.append(f"{name} is multiplied by {is_now}, should be by {should}")
    if not said:
        return check
    words = f"in {method} {'; '.join(said)}, at t = {', '.join(map(str, ts))}"
    return replace(check, message=words)


def _following(
    check: Check, scheduler: Scheduler, method: str, given: Images, own: Coefficients
) -> Check:
    """A check that differs as the method's own coefficients say; else as it is."""
    if given.t.numel() not in (1, len(given.x_0)):
        return check
    of_x_0, of_noise = (per_image(values[given.t.flatten()], given.x_0) for values in own)
    parts = of_x_0 * given.x_0.to(F64), of_noise * given.noise.to(F64)
    allowed = 2 * FACTOR * UNIT * (parts[0].abs() + parts[1].abs())
    same = deviation(answer(scheduler, method, given), parts[0] + parts[1], allowed)[0]
    return check if same == "differs" else as_its_coefficients(check, method)


def as_its_coefficients(check: Check, method: str) -> Check:
    """A check that differs as the coefficients do, which are told once."""
    words = f"as its coefficients at each t say (forward/{method}/coefficients)"
    return replace(check, status="follows", message=words, whole=None)


def _flattened(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """A note only: t of shape (1, b) is nobody's duty, but Diffusers flattens it."""
    T, (x_0, noise) = scheduler.setting.num_train_timesteps, torch.ones(2, 3, 3, 4, 3)
    if T < 3 or not scheduler.subject.has("set_timesteps"):
        return
    given = Images("t-(1,b)", x_0, 0 * noise, torch.tensor([[0, T // 3, T - 1]]))
    of_channels = scheduler.alpha_bars(oracle)[given.t.flatten()].sqrt().reshape(1, 3, 1, 1)
    got = answer(scheduler, "add_noise", given)
    if deviation(got, of_channels.expand(got.shape), 1e-3 * of_channels)[0] != "differs":
        yield note(
            "forward/add_noise/t-(1,b)",
            "t of shape (1, b) is not flattened, so each channel gets a t of its own: mistake 22 "
            "where somebody passes it",
            bug="22",
        )

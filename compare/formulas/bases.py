"""The two coefficients of a step, read in every basis that a program may be written in.

x_prev = a x_t + b out is measured. A program may also weigh x0-hat and x_t (Ho et al. eq. 7), or
x0-hat and the noise (Song et al. eq. 12), or be right in both weights and wrong in x0-hat. In the
basis in which it is written a wrong coefficient is short, and it is the only wrong one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.formulas.atoms import Atoms, atoms
from compare.formulas.curves import (
    BETA_TILDE,
    NOISE,
    SIGNAL,
    Reading,
    Rows,
    chosen_steps,
    rows,
    sizes,
)
from compare.formulas.expressions import Expression, Monomial, Sum
from compare.formulas.fit import Curve
from compare.measure.probe import Probe
from compare.measure.step import curves_of_mean, rows_of_mean
from compare.measure.tolerances import FACTOR, UNIT, propagated
from compare.oracle import Level, Oracle

BRACKET = 1.5  # factors: how much shorter what is inside a bracket must be than the whole
INDIRECT = 2.5  # factors: how much shorter what is inside x0-hat must be than the step's own
ALONG = 1e-3  # how far the answers to a step's pixels may be from one factor
EQ_7, EQ_11, EQ_15 = "Ho et al. eq. 7", "Ho et al. eq. 11", "Ho et al. eq. 15"
EQ_12 = "Song et al. eq. 12"
V = "Salimans & Ho, appendix D"
OF_X_0 = Monomial(1.0, {"ab_prev": 0.5, "beta_t": 1, "1 - ab_t": -1})
OF_X_T = Monomial(1.0, {"ab_t": 0.5, "ab_prev": -0.5, "1 - ab_prev": 1, "1 - ab_t": -1})
INVERSE = Monomial(1.0, {"ab_t": -0.5, "ab_prev": 0.5})  # 1 / sqrt(alpha)
INSIDE = Monomial(1.0, {"beta_t": 1, "1 - ab_t": -0.5})
SIGNAL_PREV = Monomial(1.0, {"ab_prev": 0.5})
RATIO = Monomial(1.0, {"1 - ab_t": 0.5, "ab_t": -0.5})
# What x_t and the model's output weigh in x0-hat, and in the noise that DDIM goes along.
ZERO, ONE = Monomial(0.0), Monomial(1.0)
X_0 = {
    "epsilon": (Monomial(1.0, {"ab_t": -0.5}), RATIO.times(-1, {})),
    "sample": (ZERO, ONE),
    "v_prediction": (SIGNAL, NOISE.times(-1, {})),
}
EPS = {
    "epsilon": (ZERO, ONE),
    "sample": (
        Monomial(1.0, {"1 - ab_t": -0.5}),
        Monomial(-1.0, {"ab_t": 0.5, "1 - ab_t": -0.5}),
    ),
    "v_prediction": (NOISE, SIGNAL),
}
OUTPUT = {"epsilon": "eps", "sample": "x0-hat", "v_prediction": "v"}


@dataclass(frozen=True)
class Pair:
    """Two coefficients (k,), of x_t and of the model's output, and how far off each may be."""

    x: Tensor
    out: Tensor
    x_error: Tensor
    out_error: Tensor


@dataclass(frozen=True)
class Measured:
    """A step as it was measured.

    Attributes:
        step: what x_t and the output weigh in x_prev.
        x_0: what they weigh in x0-hat, as the candidate shows it or as it should be.
        eps: what they weigh in the noise of DDIM's direction.
        shown: the candidate shows x0-hat.
        direction: the right weight of that noise.
        atoms, t, strided: see `Reading`.
    """

    kind: str
    step: Pair
    x_0: Pair
    eps: Pair
    shown: bool
    direction: Expression
    atoms: Atoms
    t: Tensor
    strided: bool


def measured(scheduler: Scheduler, oracle: Oracle, short: bool) -> Measured | None:
    """The curves of a step; None where they are none, as where a clip acts."""
    kind, setting = scheduler.setting.prediction_type, scheduler.setting
    seen = rows(scheduler, oracle, chosen_steps(scheduler), short)
    step = _weights(seen.probes)
    if step is None:
        return None
    shown = all(one.x_0_x is not None for one in seen.probes)
    own = _shown(seen.probes) if shown else None
    x_0 = own or _by(lambda x, out, at: oracle.x_0(kind, out, x, at), seen.level)

    def eps_of(x: Tensor, out: Tensor, at: Level) -> Tensor:
        return oracle.ddim_eps(out, x, oracle.x_0(kind, out, x, at), at, setting)

    made = atoms(seen.level, scheduler.betas())
    direction: Expression = Monomial(1.0, {"1 - ab_prev": 0.5})
    if setting.sampler == "ddim" and setting.eta:
        made = _with_sigma(made, scheduler, oracle, seen)
        less = Monomial(-1.0, {"sigma_t": 2})
        direction = Sum((Monomial(1.0, {"1 - ab_prev": 1}), less), root=True)
    eps = _by(eps_of, seen.level)
    strided = len(seen.probes) > 1
    return Measured(kind, step, x_0, eps, own is not None, direction, made, seen.t, strided)


def _with_sigma(made: Atoms, scheduler: Scheduler, oracle: Oracle, seen: Rows) -> Atoms:
    """With the sigma that the candidate's noise has, or should have where that cannot be read."""
    right = BETA_TILDE.times(scheduler.setting.eta, {})
    size = sizes(scheduler, oracle, seen)
    return made.also(
        "sigma_t",
        right.value(made) if size is None else size.abs(),
        right.error(made) / (FACTOR * UNIT * right.value(made)).clamp(min=1e-300),
    )


def _weights(probes: list[Probe]) -> Pair | None:
    """a and b of x_prev = a x_t + b out, if every pixel shows the same."""
    found = []
    for one in probes:
        a, b = curves_of_mean(one)
        both, k = rows_of_mean(one), len(one.t)
        left = (both[:k] - a[:, None] * one.x).abs().amax(1) / one.x.abs().amax(1)
        right = (both[k:] - b[:, None] * one.out).abs().amax(1) / one.out.abs().amax(1)
        if bool((left > ALONG * (1 + a.abs())).any() or (right > ALONG * (1 + b.abs())).any()):
            return None
        x_error = (one.zero.abs() / one.x.abs()).mean(1) + a.abs()
        out_error = (one.zero.abs() / one.out.abs()).mean(1) + b.abs()
        found.append((a, b, FACTOR * UNIT * x_error, FACTOR * UNIT * out_error))
    return Pair(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _shown(probes: list[Probe]) -> Pair:
    """The same of the candidate's own x0-hat."""
    found = []
    for one in probes:
        assert one.x_0_x is not None
        assert one.x_0_out is not None
        assert one.x_0_zero is not None
        p = ((one.x_0_x - one.x_0_zero) / one.x).mean(1)
        q = ((one.x_0_out - one.x_0_zero) / one.out).mean(1)
        found.append((p, q, FACTOR * UNIT * p.abs(), FACTOR * UNIT * q.abs()))
    return Pair(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _by(formula: Callable[[Tensor, Tensor, Level], Tensor], level: Level) -> Pair:
    """The same of a formula (x, out, level) that is linear in x and out."""
    one = torch.ones_like(level.alpha_bar)

    def of_x(at: Level) -> Tensor:
        return formula(one, 0 * one, at) * one

    def of_out(at: Level) -> Tensor:
        return formula(0 * one, one, at) * one

    parts = [(part(level), propagated(part, level, part(level).abs())) for part in (of_x, of_out)]
    (x, x_error), (out, out_error) = ((v.flatten(), e.flatten()) for v, e in parts)
    return Pair(x, out, x_error, out_error)


def readings(scheduler: Scheduler, oracle: Oracle, short: bool) -> Iterator[Reading]:
    """The step in every basis that its sampler is written in, the likeliest first."""
    seen = measured(scheduler, oracle, short)
    if seen is not None:
        yield from _of_ddim(seen) if scheduler.setting.sampler == "ddim" else _of_ddpm(seen)


def shown_x_0(scheduler: Scheduler, oracle: Oracle) -> Iterator[Reading]:
    """What x_t and the model's output weigh in the x0-hat that a candidate shows."""
    seen = measured(scheduler, oracle, False)
    if seen is not None and seen.shown:
        yield from _of_x_0(seen, seen.x_0)


def _of_x_0(seen: Measured, pair: Pair) -> Iterator[Reading]:
    """x0-hat = a x_t + b out, or, as it is written for eps, a (x_t - b eps)."""
    of_x, of_out = X_0[seen.kind]
    source = V if seen.kind == "v_prediction" else EQ_15
    whole = {
        "epsilon": "x0-hat = (x_t - sqrt(1 - ab_t) * eps) / sqrt(ab_t)",
        "sample": "x0-hat = the model output",
        "v_prediction": "x0-hat = sqrt(ab_t) * x_t - sqrt(1 - ab_t) * v",
    }[seen.kind]
    far = 0.0 if seen.shown else INDIRECT
    curves = (
        Curve("x_t in x0-hat", pair.x, pair.x_error, (of_x,), source),
        Curve("model output in x0-hat", pair.out, pair.out_error, (of_out,), source),
    )
    yield Reading(whole, curves, seen.atoms, seen.t, seen.strided, far)
    if seen.kind == "epsilon":
        names = ("bracket (x_t - b * eps) in x0-hat", "model output in the bracket of x0-hat")
        curves = _taken_out(pair, names, (of_x, NOISE), source)
        yield Reading(whole, curves, seen.atoms, seen.t, seen.strided, far + BRACKET)


def _taken_out(
    pair: Pair, names: tuple[str, str], right: tuple[Expression, Expression], source: str
) -> tuple[Curve, Curve]:
    """The coefficients of a (x_t - b eps)."""
    inside = -pair.out / pair.x
    error = (pair.out_error + inside.abs() * pair.x_error) / pair.x.abs()
    return (
        Curve(names[0], pair.x, pair.x_error, (right[0],), source),
        Curve(names[1], inside, error, (right[1],), source),
    )


def _of_ddpm(seen: Measured) -> Iterator[Reading]:
    if seen.kind == "epsilon":
        yield _step(seen)
        yield _bracket(seen)
    yield _mean(seen)
    if not seen.shown and seen.kind != "sample":
        w_0, w_t = _weight(OF_X_0, seen), _weight(OF_X_T, seen)
        yield from _of_x_0(
            seen, _inside(seen.step, w_0, Pair(w_t[0], 0 * w_t[0], w_t[1], 0 * w_t[1]))
        )


def _step(seen: Measured) -> Reading:
    """x_prev = a x_t + b eps."""
    step, inverse = seen.step, INVERSE.times(-1, INSIDE.powers)
    curves = (
        Curve("x_t", step.x, step.x_error, (INVERSE,), EQ_11),
        Curve("model output", step.out, step.out_error, (inverse,), EQ_11),
    )
    whole = f"x_prev = {INVERSE} * x_t - {INSIDE} / sqrt(alpha_t) * eps + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)


def _bracket(seen: Measured) -> Reading:
    """x_prev = a (x_t - b eps)."""
    names = ("bracket (x_t - b * eps)", "model output in the bracket")
    curves = _taken_out(seen.step, names, (INVERSE, INSIDE), EQ_11)
    whole = f"x_prev = (x_t - {INSIDE} * eps) / sqrt(alpha_t) + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided, BRACKET)


def _mean(seen: Measured) -> Reading:
    """x_prev = a x0-hat + b x_t."""
    nothing = torch.zeros_like(seen.step.x)
    x_0, x_t = _solved(seen.step, seen.x_0, Pair(1 + nothing, nothing, nothing, nothing))
    curves = (
        Curve("x0-hat", *x_0, (OF_X_0,), EQ_7),
        Curve("x_t", *x_t, (OF_X_T,), EQ_7),
    )
    whole = f"x_prev = {OF_X_0} * x0-hat + {OF_X_T} * x_t + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)


def _of_ddim(seen: Measured) -> Iterator[Reading]:
    x_0, eps = _solved(seen.step, seen.x_0, seen.eps)
    curves = (
        Curve("x0-hat", *x_0, (SIGNAL_PREV,), EQ_12),
        Curve("eps", *eps, (seen.direction,), EQ_12),
    )
    whole = f"x_prev = {SIGNAL_PREV} * x0-hat + {seen.direction} * eps + sigma_t * z"
    yield Reading(whole, curves, seen.atoms, seen.t, seen.strided)
    along, signal = _weight(seen.direction, seen), _weight(SIGNAL_PREV, seen)
    if not seen.shown and seen.kind != "sample":
        yield from _of_x_0(seen, _inside(seen.step, signal, _scaled(seen.eps, along)))
    if seen.kind != "epsilon":
        yield _of_eps(seen, _inside(seen.step, along, _scaled(seen.x_0, signal)))


def _of_eps(seen: Measured, pair: Pair) -> Reading:
    """The noise of DDIM's direction; at the end of the chain nothing of it is left to be read."""
    curves = []
    names, errors = ("x_t in eps", "model output in eps"), (pair.x_error, pair.out_error)
    for name, values, error, right in zip(
        names, (pair.x, pair.out), errors, EPS[seen.kind], strict=True
    ):
        read = torch.where(seen.atoms.end, right.value(seen.atoms), values)
        source = V if seen.kind == "v_prediction" else "Ho et al. eq. 4"
        curves.append(Curve(name, read, torch.where(seen.atoms.end, 0.0, error), (right,), source))
    whole = f"eps = {EPS[seen.kind][0]} * x_t + ({EPS[seen.kind][1]}) * {OUTPUT[seen.kind]}"
    return Reading(whole, tuple(curves), seen.atoms, seen.t, seen.strided, INDIRECT)


def _weight(formula: Expression, seen: Measured) -> tuple[Tensor, Tensor]:
    return formula.value(seen.atoms), formula.error(seen.atoms)


def _scaled(pair: Pair, weight: tuple[Tensor, Tensor]) -> Pair:
    """A weight times each coefficient of something."""
    value, error = weight
    return Pair(
        value * pair.x,
        value * pair.out,
        value.abs() * pair.x_error + error * pair.x.abs(),
        value.abs() * pair.out_error + error * pair.out.abs(),
    )


def _inside(step: Pair, weight: tuple[Tensor, Tensor], rest: Pair) -> Pair:
    """The coefficients of what is weighed by `weight` in a step, the rest taken off."""
    (value, error), rounded = weight, FACTOR * UNIT
    found = []
    for whole, less, off, more in (
        (step.x, rest.x, step.x_error, rest.x_error),
        (step.out, rest.out, step.out_error, rest.out_error),
    ):
        inside = (whole - less) / value
        allowed = off + more + error * inside.abs() + rounded * (less.abs() + whole.abs())
        found.append((inside, allowed / value.abs()))
    (x, x_error), (out, out_error) = found
    return Pair(x, out, x_error, out_error)


def _solved(step: Pair, one: Pair, other: Pair) -> tuple[tuple[Tensor, Tensor], ...]:
    """The weights of two things, each known by its coefficients, and how far off they may be."""
    det = one.x * other.out - other.x * one.out
    first = (step.x * other.out - step.out * other.x) / det
    second = (one.x * step.out - one.out * step.x) / det
    off = []
    for measured_error, a, a_error, b, b_error in (
        (step.x_error, one.x, one.x_error, other.x, other.x_error),
        (step.out_error, one.out, one.out_error, other.out, other.out_error),
    ):
        terms = (first * a).abs() + (second * b).abs()
        moved = first.abs() * a_error + second.abs() * b_error
        off.append(measured_error + moved + FACTOR * UNIT * terms)
    by_first = (off[0] * other.out.abs() + off[1] * other.x.abs()) / det.abs()
    by_second = (off[0] * one.out.abs() + off[1] * one.x.abs()) / det.abs()
    return (first, by_first), (second, by_second)

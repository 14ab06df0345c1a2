"""The two coefficients of a step, read in every basis that a program may be written in.

x_prev = a x_t + b out is measured. A program may also weigh x0-hat and x_t (Ho et al. eq. 7), or
x0-hat and the noise (Song et al. eq. 12), or be right in both weights and wrong in x0-hat. In the
basis in which it is written a wrong coefficient is short, and it is the only wrong one.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compare.formulas.curves import (
    EQ_7,
    EQ_11,
    EQ_15,
    INSIDE,
    NOISE,
    OF_X_0,
    OF_X_T,
    RATIO,
    SIGNAL,
    Reading,
)
from compare.formulas.expressions import Expression, Monomial, Sum
from compare.formulas.fit import Curve
from compare.formulas.parts.measured import Measured, Pair
from compare.measure.tolerances import FACTOR, UNIT

BRACKET = 1.5  # factors: how much shorter what is inside a bracket must be than the whole
INDIRECT = 2.5  # factors: how much shorter what is inside x0-hat must be than the step's own
EQ_12 = "Song et al. eq. 12"
V = "Salimans & Ho, appendix D"
INVERSE = Monomial(1.0, {"ab_t": -0.5, "ab_prev": 0.5})  # 1 / sqrt(alpha)
SIGNAL_PREV = Monomial(1.0, {"ab_prev": 0.5})
NOISE_PREV = Monomial(1.0, {"1 - ab_prev": 0.5})
ALONG = Monomial(1.0, {"ab_t": 0.5, "ab_prev": -0.5, "1 - ab_prev": 1, "1 - ab_t": -0.5})
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
# What x_t and the model's output weigh in DDIM's step without noise.
STILL: dict[str, tuple[Expression, Expression]] = {
    "epsilon": (
        INVERSE,
        Sum((NOISE_PREV, RATIO.times(-1, SIGNAL_PREV.powers))),
    ),
    "sample": (
        NOISE_PREV.times(1, {"1 - ab_t": -0.5}),
        Sum((SIGNAL_PREV, NOISE_PREV.times(-1, {"ab_t": 0.5, "1 - ab_t": -0.5}))),
    ),
    "v_prediction": (
        Sum((SIGNAL.times(1, SIGNAL_PREV.powers), NOISE.times(1, NOISE_PREV.powers))),
        Sum((SIGNAL.times(1, NOISE_PREV.powers), NOISE.times(-1, SIGNAL_PREV.powers))),
    ),
}


def readings(seen: Measured) -> Iterator[Reading]:
    """The step in every basis that its sampler is written in, the likeliest first."""
    return _of_ddim(seen) if seen.setting.sampler == "ddim" else _of_ddpm(seen)


def shown_x_0(seen: Measured) -> Iterator[Reading]:
    """What x_t and the model's output weigh in the x0-hat that a candidate shows."""
    return _of_x_0(seen, seen.x_0)


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
        yield _apart(seen)
        yield _in_all(seen)
        yield from _of_noise(seen, ALONG)  # x_prev = sqrt(ab_prev) x0-hat + ALONG eps + sigma z


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
        Curve("x0-hat", *x_0, (OF_X_0,), EQ_7, beside=(OF_X_T,)),
        Curve("x_t", *x_t, (OF_X_T,), EQ_7, beside=(OF_X_0,)),
    )
    whole = f"x_prev = {OF_X_0} * x0-hat + {OF_X_T} * x_t + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)


def _apart(seen: Measured) -> Reading:
    """What x_t weighs beside x0-hat, and the output inside it, both of which may be wrong."""
    w_0, nothing = _weight(OF_X_0, seen), torch.zeros_like(seen.step.x)
    inside = _inside(seen.step, w_0, Pair(nothing, nothing, nothing, nothing))
    beside = _inside(seen.step, (1 + nothing, nothing), _scaled(seen.x_0, w_0))
    of_out = X_0[seen.kind][1]
    curves = (
        Curve("model output in x0-hat", inside.out, inside.out_error, (of_out,), EQ_15),
        Curve("x_t", beside.x, beside.x_error, (OF_X_T,), EQ_7),
    )
    whole = f"x_prev = {OF_X_0} * x0-hat + {OF_X_T} * x_t + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided, INDIRECT)


def _in_all(seen: Measured) -> Reading:
    """What x_t and the output weigh in all, inside x0-hat and beside it: both sums may be wrong."""
    of_x, of_out = X_0[seen.kind]
    in_x_0 = of_x.times(1.0, OF_X_0.powers)
    out = OF_X_0.times(of_out.constant, of_out.powers)
    x = (INVERSE,) if seen.kind == "epsilon" else (Sum((in_x_0, OF_X_T)),)
    step, source = seen.step, EQ_7
    curves = (
        Curve("x_t in x_prev", step.x, step.x_error, x, source, beside=(in_x_0, OF_X_T)),
        Curve("model output in x_prev", step.out, step.out_error, (out,), source),
    )
    whole = f"x_prev = {OF_X_0} * x0-hat + {OF_X_T} * x_t + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided, INDIRECT)


def _of_ddim(seen: Measured) -> Iterator[Reading]:
    x_0, eps = _solved(seen.step, seen.x_0, seen.eps)
    curves = (
        Curve("x0-hat", *x_0, (SIGNAL_PREV,), EQ_12),
        Curve("eps", *eps, (seen.direction,), EQ_12),
    )
    whole = f"x_prev = {SIGNAL_PREV} * x0-hat + {seen.direction} * eps + sigma_t * z"
    yield Reading(whole, curves, seen.atoms, seen.t, seen.strided)
    if not seen.draws:
        yield _still(seen)
    along, signal = _weight(seen.direction, seen), _weight(SIGNAL_PREV, seen)
    if not seen.shown and seen.kind != "sample":
        yield from _of_x_0(seen, _inside(seen.step, signal, _scaled(seen.eps, along)))
    yield from _of_noise(seen, seen.direction)


def _still(seen: Measured) -> Reading:
    """x_prev = a x_t + b out, as of a step along the circle, or of Euler's."""
    (of_x, of_out), step, out = STILL[seen.kind], seen.step, OUTPUT[seen.kind]
    curves = (
        Curve("x_t", step.x, step.x_error, (of_x,), EQ_12),
        Curve("model output", step.out, step.out_error, (of_out,), EQ_12),
    )
    whole = f"x_prev = ({of_x}) * x_t + ({of_out}) * {out}"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)


def _of_noise(seen: Measured, along: Expression) -> Iterator[Reading]:
    """What x_t and another output than the noise weigh in the noise that a step goes along; at the
    end of the chain nothing of it is left to be read."""
    if seen.kind == "epsilon":
        return
    beside = _scaled(seen.x_0, _weight(SIGNAL_PREV, seen))
    pair, curves = _inside(seen.step, _weight(along, seen), beside), []
    names, errors = ("x_t in eps", "model output in eps"), (pair.x_error, pair.out_error)
    for name, values, error, right in zip(
        names, (pair.x, pair.out), errors, EPS[seen.kind], strict=True
    ):
        read = torch.where(seen.atoms.end, right.value(seen.atoms), values)
        source = V if seen.kind == "v_prediction" else "Ho et al. eq. 4"
        curves.append(Curve(name, read, torch.where(seen.atoms.end, 0.0, error), (right,), source))
    whole = f"eps = {EPS[seen.kind][0]} * x_t + ({EPS[seen.kind][1]}) * {OUTPUT[seen.kind]}"
    yield Reading(whole, tuple(curves), seen.atoms, seen.t, seen.strided, INDIRECT)


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

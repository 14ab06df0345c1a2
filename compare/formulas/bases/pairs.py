"""What the bases share: the two coefficients of a step, and what is left once a part is known."""

from collections.abc import Iterator

import torch
from torch import Tensor

from compare.formulas.curves import EQ_15, NOISE, RATIO, SIGNAL, Reading
from compare.formulas.expressions import Expression, Monomial
from compare.formulas.fit import Curve
from compare.formulas.parts.measured import Measured, Pair
from compare.measure.tolerances import FACTOR, UNIT

BRACKET = 1.5  # factors: how much shorter what is inside a bracket must be than the whole
INDIRECT = 2.5  # factors: how much shorter what is inside x0-hat must be than the step's own
V = "Salimans & Ho, appendix D"
INVERSE = Monomial(1.0, {"ab_t": -0.5, "ab_prev": 0.5})  # 1 / sqrt(alpha)
SIGNAL_PREV = Monomial(1.0, {"ab_prev": 0.5})
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


def of_x_0(seen: Measured, pair: Pair) -> Iterator[Reading]:
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
        curves = taken_out(pair, names, (of_x, NOISE), source)
        yield Reading(whole, curves, seen.atoms, seen.t, seen.strided, far + BRACKET)


def of_noise(seen: Measured, along: Expression) -> Iterator[Reading]:
    """What x_t and another output than the noise weigh in the noise that a step goes along; at the
    end of the chain nothing of it is left to be read."""
    if seen.kind == "epsilon":
        return
    beside = scaled(seen.x_0, weight(SIGNAL_PREV, seen))
    pair, curves = read_inside(seen.step, weight(along, seen), beside), []
    names, errors = ("x_t in eps", "model output in eps"), (pair.x_error, pair.out_error)
    for name, values, error, right in zip(
        names, (pair.x, pair.out), errors, EPS[seen.kind], strict=True
    ):
        read = torch.where(seen.atoms.end, right.value(seen.atoms), values)
        source = V if seen.kind == "v_prediction" else "Ho et al. eq. 4"
        curves.append(Curve(name, read, torch.where(seen.atoms.end, 0.0, error), (right,), source))
    whole = f"eps = {EPS[seen.kind][0]} * x_t + ({EPS[seen.kind][1]}) * {OUTPUT[seen.kind]}"
    yield Reading(whole, tuple(curves), seen.atoms, seen.t, seen.strided, INDIRECT)


def taken_out(
    pair: Pair, names: tuple[str, str], right: tuple[Expression, Expression], source: str
) -> tuple[Curve, Curve]:
    """The coefficients of a (x_t - b eps)."""
    inside = -pair.out / pair.x
    error = (pair.out_error + inside.abs() * pair.x_error) / pair.x.abs()
    return (
        Curve(names[0], pair.x, pair.x_error, (right[0],), source),
        Curve(names[1], inside, error, (right[1],), source),
    )


def weight(formula: Expression, seen: Measured) -> tuple[Tensor, Tensor]:
    """(k,) a formula at each step, and how far off it may be."""
    return formula.value(seen.atoms), formula.error(seen.atoms)


def scaled(pair: Pair, weight: tuple[Tensor, Tensor]) -> Pair:
    """A weight times each coefficient of something."""
    value, error = weight
    return Pair(
        value * pair.x,
        value * pair.out,
        value.abs() * pair.x_error + error * pair.x.abs(),
        value.abs() * pair.out_error + error * pair.out.abs(),
    )


def read_inside(step: Pair, weight: tuple[Tensor, Tensor], rest: Pair) -> Pair:
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


def solved(step: Pair, one: Pair, other: Pair) -> tuple[tuple[Tensor, Tensor], ...]:
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

"""The bases of DDPM's step: (x_t, eps), the bracket of algorithm 2, (x0-hat, x_t)."""

from collections.abc import Iterator

import torch

from compare.formulas.bases.pairs import (
    BRACKET,
    INDIRECT,
    INVERSE,
    X_0,
    of_noise,
    of_x_0,
    read_inside,
    scaled,
    solved,
    taken_out,
    weight,
)
from compare.formulas.curves import EQ_7, EQ_11, EQ_15, INSIDE, OF_X_0, OF_X_T, Reading
from compare.formulas.expressions import Monomial, Sum
from compare.formulas.fit import Curve
from compare.formulas.parts.measured import Measured, Pair

ALONG = Monomial(1.0, {"ab_t": 0.5, "ab_prev": -0.5, "1 - ab_prev": 1, "1 - ab_t": -0.5})


def readings(seen: Measured) -> Iterator[Reading]:
    """The likeliest first."""
    if seen.kind == "epsilon":
        yield _step(seen)
        yield _bracket(seen)
    yield _mean(seen)
    if not seen.shown and seen.kind != "sample":
        w_0, w_t = weight(OF_X_0, seen), weight(OF_X_T, seen)
        yield from of_x_0(
            seen, read_inside(seen.step, w_0, Pair(w_t[0], 0 * w_t[0], w_t[1], 0 * w_t[1]))
        )
        yield _apart(seen)
        yield _in_all(seen)
        yield from of_noise(seen, ALONG)  # x_prev = sqrt(ab_prev) x0-hat + ALONG eps + sigma z


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
    curves = taken_out(seen.step, names, (INVERSE, INSIDE), EQ_11)
    whole = f"x_prev = (x_t - {INSIDE} * eps) / sqrt(alpha_t) + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided, BRACKET)


def _mean(seen: Measured) -> Reading:
    """x_prev = a x0-hat + b x_t."""
    nothing = torch.zeros_like(seen.step.x)
    x_0, x_t = solved(seen.step, seen.x_0, Pair(1 + nothing, nothing, nothing, nothing))
    curves = (
        Curve("x0-hat", *x_0, (OF_X_0,), EQ_7, beside=(OF_X_T,)),
        Curve("x_t", *x_t, (OF_X_T,), EQ_7, beside=(OF_X_0,)),
    )
    whole = f"x_prev = {OF_X_0} * x0-hat + {OF_X_T} * x_t + sigma_t * z"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)


def _apart(seen: Measured) -> Reading:
    """What x_t weighs beside x0-hat, and the output inside it, both of which may be wrong."""
    w_0, nothing = weight(OF_X_0, seen), torch.zeros_like(seen.step.x)
    inside = read_inside(seen.step, w_0, Pair(nothing, nothing, nothing, nothing))
    beside = read_inside(seen.step, (1 + nothing, nothing), scaled(seen.x_0, w_0))
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

"""The bases of DDIM's step: (x0-hat, eps), and (x_t, output) of one without noise."""

from collections.abc import Iterator

from compare.formulas.bases.pairs import (
    INVERSE,
    OUTPUT,
    SIGNAL_PREV,
    of_noise,
    of_x_0,
    read_inside,
    scaled,
    solved,
    weight,
)
from compare.formulas.curves import NOISE, RATIO, SIGNAL, Reading
from compare.formulas.expressions import Expression, Monomial, Sum
from compare.formulas.fit import Curve
from compare.formulas.parts.measured import Measured

EQ_12 = "Song et al. eq. 12"
NOISE_PREV = Monomial(1.0, {"1 - ab_prev": 0.5})
# What x_t and the model's output weigh in a step without noise.
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
    """The likeliest first."""
    x_0, eps = solved(seen.step, seen.x_0, seen.eps)
    curves = (
        Curve("x0-hat", *x_0, (SIGNAL_PREV,), EQ_12),
        Curve("eps", *eps, (seen.direction,), EQ_12),
    )
    whole = f"x_prev = {SIGNAL_PREV} * x0-hat + {seen.direction} * eps + sigma_t * z"
    yield Reading(whole, curves, seen.atoms, seen.t, seen.strided)
    if not seen.draws:
        yield _still(seen)
    along, signal = weight(seen.direction, seen), weight(SIGNAL_PREV, seen)
    if not seen.shown and seen.kind != "sample":
        yield from of_x_0(seen, read_inside(seen.step, signal, scaled(seen.eps, along)))
    yield from of_noise(seen, seen.direction)


def _still(seen: Measured) -> Reading:
    """x_prev = a x_t + b out, as of a step along the circle, or of Euler's."""
    (of_x, of_out), step, out = STILL[seen.kind], seen.step, OUTPUT[seen.kind]
    curves = (
        Curve("x_t", step.x, step.x_error, (of_x,), EQ_12),
        Curve("model output", step.out, step.out_error, (of_out,), EQ_12),
    )
    whole = f"x_prev = ({of_x}) * x_t + ({of_out}) * {out}"
    return Reading(whole, curves, seen.atoms, seen.t, seen.strided)

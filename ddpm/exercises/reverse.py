"""Exercises on `scratch.reverse`: what the network says of x_0 and eps, and the law of x_prev."""

from typing import Any

import torch
from torch import Tensor

from compare.oracle import F64, Oracle, Setting
from ddpm.exercises.exercise import (
    Arguments,
    Exercise,
    Function,
    Slip,
    level,
    wrong_formulas,
)
from ddpm.exercises.inputs import DTYPES, image, of_images, per_image


def _x_0_from_eps(oracle: Oracle) -> Function:
    def x_0_from_eps(x_t: Tensor, eps: Tensor, alpha_bar: Any) -> Tensor:
        return oracle.x_0("epsilon", eps, x_t, level(alpha_bar)).to(x_t.dtype)

    return x_0_from_eps


def _x_0_from_v(oracle: Oracle) -> Function:
    def x_0_from_v(x_t: Tensor, v: Tensor, alpha_bar: Any) -> Tensor:
        return oracle.x_0("v_prediction", v, x_t, level(alpha_bar)).to(x_t.dtype)

    return x_0_from_v


def _eps_from_x_0(oracle: Oracle) -> Function:
    def eps_from_x_0(x_t: Tensor, x_0: Tensor, alpha_bar: Any) -> Tensor:
        setting = Setting(prediction_type="sample")
        return oracle.ddim_eps(x_0, x_t, x_0, level(alpha_bar), setting).to(x_t.dtype)

    return eps_from_x_0


def _posterior_mean(oracle: Oracle) -> Function:
    def posterior_mean(x_0: Tensor, x_t: Tensor, alpha_bar: Any, alpha_bar_prev: Any) -> Tensor:
        return oracle.mean(x_0, x_t, level(alpha_bar, alpha_bar_prev)).to(x_t.dtype)

    return posterior_mean


def _mean_over_a_root(*, both: bool) -> Function:
    def posterior_mean(x_0: Tensor, x_t: Tensor, alpha_bar: Any, alpha_bar_prev: Any) -> Tensor:
        at, before = (torch.as_tensor(v, dtype=F64) for v in (alpha_bar, alpha_bar_prev))
        alpha, root = at / before, (1 - at).sqrt()
        of_x_0 = before.sqrt() * (1 - alpha) / root
        of_x_t = alpha.sqrt() * (1 - before) / (root if both else 1 - at)
        return (of_x_0 * x_0 + of_x_t * x_t).to(x_t.dtype)

    return posterior_mean


def _dynamic_threshold(oracle: Oracle) -> Function:
    def dynamic_threshold(x_0: Tensor, ratio: float, max_value: float) -> Tensor:
        setting = Setting(
            thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=max_value
        )
        return oracle.limit(x_0.to(F64).flatten(1), setting).reshape(x_0.shape).to(x_0.dtype)

    return dynamic_threshold


def _posterior_variance(oracle: Oracle) -> Function:
    def posterior_variance(alpha_bar: Any, alpha_bar_prev: Any) -> Any:
        variance = oracle.std("fixed_small", level(alpha_bar, alpha_bar_prev)) ** 2
        return variance if isinstance(alpha_bar, Tensor) else float(variance)

    return posterior_variance


def _prediction(other: str, *ends: float) -> Any:
    """Inputs of a converter: x_t, what the network says, and levels that include the ends."""
    levels = [{"alpha_bar": at} for at in (0.36, 4e-5, 0.9999, per_image(0.36, 0.81), *ends)]
    return of_images(("x_t", other), {"x_t": 1.0, other: 0.5, "alpha_bar": 0.36}, levels)


PAIRS: list[tuple[Any, Any]] = [  # alpha_bar, alpha_bar_prev; the last step, the first, a stride
    (0.36, 0.72),
    (0.9998, 0.9999),
    (0.9999, 1.0),
    (4e-5, 4.1e-5),
    (0.0, 0.5),
    (0.1, 0.9),
]
BOTH = (per_image(0.36, 0.81), per_image(0.72, 1.0))


def _pair(alpha_bar: Any, alpha_bar_prev: Any) -> Arguments:
    return {"alpha_bar": alpha_bar, "alpha_bar_prev": alpha_bar_prev}


def _for_threshold() -> list[Arguments]:
    calls: list[tuple[Tensor, float, float]] = [
        (torch.tensor([[0.5, 4.0], [0.5, 1.0]]), 1.0, 2.0),
        (torch.tensor([[0.5, -4.0], [0.5, 3.0]]), 0.5, 3.0),
    ]
    calls += [
        (image(3, dtype) * 2, ratio, most)
        for dtype in DTYPES
        for ratio, most in ((0.995, 1.0), (0.995, 3.0), (0.5, 1.5), (0.0, 2.0), (1.0, 100.0))
    ]
    names = ("x_0", "ratio", "max_value")
    return [dict(zip(names, call, strict=True)) for call in calls]


def _for_variance() -> list[Arguments]:
    return [
        _pair(*(at.clone() if isinstance(at, Tensor) else at for at in pair))
        for pair in [*PAIRS, BOTH]
    ]


OF_X_0 = ("26", "42", "6-x0", "47-x0", "42-bracket", "42-minus-one")
OF_MEAN = ("37", "38", "39", "40", "41", "40-unshifted", "37-beta", "41-root", "39-alpha-bar")
ROOT_OF_EQUATION_11 = (
    "divided by sqrt(1 - alpha_bar), should be by 1 - alpha_bar: the root belongs to eps in "
    "equation 11, not to equation 7"
)
SLIPS_OF_MEAN = (
    Slip(f"the weight of x_0 is {ROOT_OF_EQUATION_11}", _mean_over_a_root(both=False)),
    Slip(f"both weights are {ROOT_OF_EQUATION_11}", _mean_over_a_root(both=True)),
)
OF_A_STD = ("49", "53", "54", "54-previous", "58", "59", "59-root", "50-unlogged", "49-beta")

RIGHT_VARIANCE = "should be (1-ab_prev)/(1-ab) beta (Ho et al. eq. 7)"
SAID_OF_VARIANCE = {
    "49": f"this is the square of the variance, {RIGHT_VARIANCE}",
    "49-beta": f"beta is squared, {RIGHT_VARIANCE}",
    "50-unlogged": f"this is the exponential of the variance, {RIGHT_VARIANCE}",
    "53": "this is the standard deviation, should be the variance: who calls it takes the root",
    "54": f"this is 1-ab, {RIGHT_VARIANCE}",
    "54-previous": f"this is 1-ab_prev, {RIGHT_VARIANCE}",
    "58": f"this is beta, {RIGHT_VARIANCE}",
    "59-root": f"the ratio is squared, {RIGHT_VARIANCE}",
}

EXERCISES = (
    Exercise(
        id="4a",
        module="scratch.reverse",
        function="x_0_from_eps",
        page="prediction",
        stage="prediction",
        inputs=_prediction("eps", 1.0),
        wrong=wrong_formulas(_x_0_from_eps, OF_X_0),
    ),
    Exercise(
        id="4b",
        module="scratch.reverse",
        function="x_0_from_v",
        page="prediction",
        stage="prediction",
        inputs=_prediction("v", 0.0, 1.0),
        wrong=wrong_formulas(_x_0_from_v, ("24", "25", "26-v")),
    ),
    Exercise(
        id="4c",
        module="scratch.reverse",
        function="eps_from_x_0",
        page="prediction",
        stage="mean",
        inputs=_prediction("x_0", 0.0),
        wrong=wrong_formulas(_eps_from_x_0, ("28", "28-root")),
    ),
    Exercise(
        id="4e",
        module="scratch.reverse",
        function="eps_from_v",
        page="prediction",
        stage="mean",
        inputs=_prediction("v", 0.0, 1.0),
    ),
    Exercise(
        id="6a",
        module="scratch.reverse",
        function="posterior_mean",
        page="reverse-step",
        stage="mean",
        inputs=of_images(
            ("x_0", "x_t"),
            {"x_0": 1.0, "x_t": 0.5, "alpha_bar": 0.36, "alpha_bar_prev": 0.81},
            [_pair(*pair) for pair in [*PAIRS, BOTH]],
        ),
        wrong=wrong_formulas(_posterior_mean, OF_MEAN),
        slips=SLIPS_OF_MEAN,
    ),
    Exercise(
        id="6b",
        module="scratch.reverse",
        function="dynamic_threshold",
        page="reverse-step",
        stage="prediction",
        inputs=_for_threshold,
        wrong=wrong_formulas(_dynamic_threshold, ("68", "68-divide")),
    ),
    Exercise(
        id="7a",
        module="scratch.reverse",
        function="posterior_variance",
        page="variance",
        stage="variance",
        inputs=_for_variance,
        wrong=wrong_formulas(_posterior_variance, OF_A_STD),
        said=SAID_OF_VARIANCE,
    ),
)

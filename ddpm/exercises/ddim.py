"""Exercises on `scratch.ddim`: the two formulas of DDIM's step."""

import torch
from torch import Tensor

from compare.oracle import F64, Oracle
from ddpm.exercises.exercise import Arguments, Exercise, Function, level, wrong_formulas
from ddpm.exercises.inputs import of_images
from ddpm.exercises.reverse import OF_A_STD, PAIRS


def _ddim_sigma(oracle: Oracle) -> Function:
    def ddim_sigma(eta: float, alpha_bar: float, alpha_bar_prev: float) -> float:
        return eta * float(oracle.std("fixed_small", level(alpha_bar, alpha_bar_prev)))

    return ddim_sigma


def _ddim_mean(oracle: Oracle) -> Function:
    def ddim_mean(x_0: Tensor, eps: Tensor, alpha_bar_prev: float, sigma: float) -> Tensor:
        at = level(alpha_bar_prev, alpha_bar_prev)
        return oracle.ddim_mean(x_0, eps, at, torch.tensor(sigma, dtype=F64)).to(x_0.dtype)

    return ddim_mean


def _for_sigma() -> list[Arguments]:
    return [
        {"eta": eta, "alpha_bar": alpha_bar, "alpha_bar_prev": alpha_bar_prev}
        for eta in (1.0, 0.5, 0.0)
        for alpha_bar, alpha_bar_prev in PAIRS
    ]


def _size(alpha_bar_prev: float, sigma: float) -> Arguments:
    return {"alpha_bar_prev": alpha_bar_prev, "sigma": sigma}


# The last step; and all of the noise fresh, where 1 - 0.75 - 0.5^2 is exactly 0.
SIZES = [_size(0.72, 0.3), _size(0.5, 0.0), _size(0.0001, 0.9), _size(1.0, 0.0), _size(0.75, 0.5)]

RIGHT_SIGMA = "should be sqrt((1-ab_prev)/(1-ab)) sqrt(1 - ab/ab_prev) (Song et al. eq. 16)"
SAID_OF_SIGMA = {
    "49": f"the square of sigma stands for sigma, {RIGHT_SIGMA}",
    "49-beta": f"the second root is missing, {RIGHT_SIGMA}",
    "50-unlogged": f"this is the exponential of sigma^2 / 2, {RIGHT_SIGMA}",
    "53": f"the root is taken twice, {RIGHT_SIGMA}",
    "54": f"this is sqrt(1-ab), {RIGHT_SIGMA}",
    "54-previous": f"this is sqrt(1-ab_prev), {RIGHT_SIGMA}",
    "58": f"the first factor is missing, {RIGHT_SIGMA}",
    "59": f"the first ratio is upside down, {RIGHT_SIGMA}",
    "59-root": f"the first root is missing, {RIGHT_SIGMA}",
}

EXERCISES = (
    Exercise(
        id="11d",
        module="scratch.ddim",
        function="ddim_sigma",
        page="fewer-steps",
        stage="variance",
        inputs=_for_sigma,
        wrong=wrong_formulas(_ddim_sigma, OF_A_STD),
        said=SAID_OF_SIGMA,
    ),
    Exercise(
        id="11e",
        module="scratch.ddim",
        function="ddim_mean",
        page="fewer-steps",
        stage="mean",
        inputs=of_images(("x_0", "eps"), {"x_0": 1.0, "eps": 0.5} | _size(0.64, 0.36), SIZES),
        wrong=wrong_formulas(_ddim_mean, ("82", "82-square", "83")),
    ),
)

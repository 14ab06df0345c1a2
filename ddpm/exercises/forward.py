"""Exercises on `scratch.forward`: an image and noise, mixed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from compare.oracle import F64, Oracle
from ddpm.exercises.exercise import Exercise, Function, Slip, wrong_formulas
from ddpm.exercises.inputs import of_images, per_image


def _with_a_table(formula: Callable[..., Tensor]) -> Function:
    """The oracle's formulas take a table and t; this has one alpha-bar, or one for each image."""

    def mixed(x_0: Tensor, eps: Tensor, alpha_bar: Any) -> Tensor:
        table = torch.as_tensor(alpha_bar, dtype=F64).flatten()
        t = torch.arange(len(table)) if len(table) > 1 else torch.zeros(len(x_0), dtype=torch.int64)
        return formula(x_0, eps, table, t).to(x_0.dtype)

    return mixed


def _add_noise(oracle: Oracle) -> Function:
    return _with_a_table(oracle.add_noise)


def _velocity(oracle: Oracle) -> Function:
    return _with_a_table(oracle.velocity)


def _difference_of_roots(x_0: Tensor, eps: Tensor, alpha_bar: Any) -> Tensor:
    root = torch.as_tensor(alpha_bar, dtype=F64).sqrt()
    return (root * x_0 + (1 - root) * eps).to(x_0.dtype)


SLIPS_OF_ADD_NOISE = (
    Slip(
        "the noise is multiplied by 1 - sqrt(alpha_bar), should be sqrt(1 - alpha_bar): first the "
        "difference, then the root",
        _difference_of_roots,
    ),
)
OF_ADD_NOISE = ("5", "6", "5-6", "5-swapped", "17-forward", "18-forward", "31")
LEVELS: list[dict[str, Any]] = [
    {"alpha_bar": level} for level in (0.36, 0.9999, per_image(0.36, 0.9999), 0.0, 1.0)
]
INPUTS = of_images(("x_0", "eps"), {"x_0": 1.0, "eps": 0.5, "alpha_bar": 0.36}, LEVELS)

EXERCISES = (
    Exercise(
        id="3a",
        module="scratch.forward",
        function="add_noise",
        page="forward",
        stage="forward",
        inputs=INPUTS,
        wrong=wrong_formulas(_add_noise, OF_ADD_NOISE),
        slips=SLIPS_OF_ADD_NOISE,
    ),
    Exercise(
        id="4d",
        module="scratch.forward",
        function="velocity",
        page="prediction",
        stage="forward",
        inputs=INPUTS,
        wrong=wrong_formulas(_velocity, ("24-velocity", "25-velocity")),
    ),
)

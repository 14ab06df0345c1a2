"""Exercises on `scratch.schedule`: the curves of beta."""

from collections.abc import Callable

import torch
from torch import Tensor

from compare.oracle import Oracle, Setting
from ddpm.exercises.exercise import Arguments, Exercise, Function, wrong_formulas


def _curve(family: str) -> Callable[[Oracle], Function]:
    """A curve between two ends, of an oracle."""

    def adapt(oracle: Oracle) -> Function:
        def betas(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
            return oracle.betas(Setting(num_train_timesteps, beta_start, beta_end, family))

        return betas

    return adapt


def _cosine(oracle: Oracle) -> Function:
    def cosine(num_train_timesteps: int, max_beta: float = 0.999) -> Tensor:
        if max_beta != 0.999:
            raise ValueError("the catalogue knows the paper's cap only")
        return oracle.betas(
            Setting(num_train_timesteps=num_train_timesteps, beta_schedule="squaredcos_cap_v2")
        )

    return cosine


def _between_two_ends() -> list[Arguments]:
    names = ("num_train_timesteps", "beta_start", "beta_end")
    calls = [(3, 0.1, 0.3), (10, 1e-4, 0.02), (1000, 1e-4, 0.02), (500, 0.00085, 0.012)]
    return [dict(zip(names, call, strict=True)) for call in [*calls, (2, 0.5, 0.1), (1, 0.1, 0.3)]]


def _for_cosine() -> list[Arguments]:
    return [
        {"num_train_timesteps": 3},
        *({"num_train_timesteps": T} for T in (1, 10, 1000)),
        {"num_train_timesteps": 10, "max_beta": 0.5},
    ]


def _for_zero_terminal_snr() -> list[Arguments]:
    return [
        {"betas": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)},
        *({"betas": torch.linspace(1e-4, 0.02, T, dtype=torch.float64)} for T in (2, 10, 1000)),
        {"betas": torch.full((5,), 0.5, dtype=torch.float64)},
    ]


OF_COSINE = (
    "10-square",
    "10-offset",
    "10-linear",
    "10-early",
    "10-start",
    "10-cap",
    "10-ends",
    "11",
)

EXERCISES = (
    Exercise(
        id="2a",
        module="scratch.schedule",
        function="linear",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
        wrong=wrong_formulas(_curve("linear"), ("7", "8", "8-tenfold")),
    ),
    Exercise(
        id="2b",
        module="scratch.schedule",
        function="cosine",
        page="schedule",
        stage="schedule",
        inputs=_for_cosine,
        wrong=wrong_formulas(_cosine, OF_COSINE),
    ),
    Exercise(
        id="2c",
        module="scratch.schedule",
        function="zero_terminal_snr",
        page="schedule",
        stage="schedule",
        inputs=_for_zero_terminal_snr,
    ),
    Exercise(
        id="2d",
        module="scratch.schedule",
        function="scaled_linear",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
        wrong=wrong_formulas(_curve("scaled_linear"), ("7-inverse",)),
    ),
    Exercise(
        id="2e",
        module="scratch.schedule",
        function="sigmoid",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
    ),
)

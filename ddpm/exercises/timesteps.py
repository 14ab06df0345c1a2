"""Exercises on `scratch.timesteps`: the lists of a shorter chain."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from compare.oracle import F64, Oracle, Setting
from ddpm.exercises.exercise import Arguments, Exercise, Function, Slip, wrong_formulas


def _listed(spacing: str) -> Callable[[Oracle], Function]:
    """The list of an oracle, as integers."""

    def adapt(oracle: Oracle) -> Function:
        def timesteps(
            num_train_timesteps: int, num_inference_steps: int, offset: int = 0
        ) -> list[int]:
            setting = Setting(num_train_timesteps, timestep_spacing=spacing, steps_offset=offset)
            exact, unit = oracle.timesteps(setting, num_inference_steps)
            return [round(int(value) / unit) for value in exact]

        return timesteps

    return adapt


def _halfway(spacing: str) -> Callable[[Any, Arguments], Tensor]:
    """1 where the exact value lies halfway between two timesteps, so that either is right."""

    def allowed(want: list[int], arguments: Arguments) -> Tensor:
        setting = Setting(arguments["num_train_timesteps"], timestep_spacing=spacing)
        exact, unit = Oracle().timesteps(setting, arguments["num_inference_steps"])
        if len(want) != len(exact):  # a mistake's list
            return torch.zeros(())
        return (2 * exact % (2 * unit) == unit).to(F64)

    return allowed


def _steps(num_train_timesteps: int, num_inference_steps: int) -> Arguments:
    return {"num_train_timesteps": num_train_timesteps, "num_inference_steps": num_inference_steps}


def _every_count() -> list[Arguments]:
    """A small one to show, every n of one T, and long lists that round numbers in floats spoil."""
    long = [_steps(1000, n) for n in (1, 7, 20, 50, 61, 250, 300, 999, 1000)]
    return [_steps(10, 3), *(_steps(60, n) for n in range(1, 61)), *long]


def _with_offsets() -> list[Arguments]:
    moved = [
        _steps(T, n) | {"offset": offset}
        for T, n, offset in ((10, 3, 1), (1000, 50, 1), (1000, 300, 2), (1000, 1, 999))
    ]
    past = [_steps(10, 10) | {"offset": 1}, _steps(1000, 50) | {"offset": 20}]
    return [*_every_count(), *moved, *past]


def _cut_off_linspace(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    T, n = num_train_timesteps, num_inference_steps
    return [i * (T - 1) // (n - 1) for i in reversed(range(n))] if n > 1 else [0]


def _cut_off_trailing(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    T, n = num_train_timesteps, num_inference_steps
    return [(T * n - i * T) // n - 1 for i in range(n)]


CUT_OFF = "the values are cut off, should be rounded: int() drops the fraction, round() does not"

EXERCISES = (
    Exercise(
        id="11a",
        module="scratch.timesteps",
        function="leading",
        page="fewer-steps",
        stage="timesteps",
        inputs=_with_offsets,
        wrong=wrong_formulas(_listed("leading"), ("74",)),
    ),
    Exercise(
        id="11b",
        module="scratch.timesteps",
        function="linspace",
        page="fewer-steps",
        stage="timesteps",
        inputs=_every_count,
        slips=(Slip(CUT_OFF, _cut_off_linspace),),
        allowed=_halfway("linspace"),
    ),
    Exercise(
        id="11c",
        module="scratch.timesteps",
        function="trailing",
        page="fewer-steps",
        stage="timesteps",
        inputs=_every_count,
        wrong=wrong_formulas(_listed("trailing"), ("73",)),
        slips=(Slip(CUT_OFF, _cut_off_trailing),),
        allowed=_halfway("trailing"),
    ),
)

"""Exercise on `scratch.unet`: the waves of t."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.mistakes import NETWORKS
from compare.mistakes.network.unet import Waves
from ddpm.exercises.exercise import ROUNDING, Arguments, Exercise, Function


def _embedding(waves: Waves) -> Function:
    def timestep_embedding(
        t: Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
    ) -> Tensor:
        return waves(t, dim, flip_sin_to_cos, freq_shift)

    return timestep_embedding


def _for_embedding() -> list[Arguments]:
    small = [
        {"t": torch.tensor([3]), "dim": 4},
        {"t": torch.tensor([3]), "dim": 4, "flip_sin_to_cos": False, "freq_shift": 1},
        {"t": torch.tensor([1, 2]), "dim": 5},
    ]
    times = (torch.tensor([0, 1, 507, 999]), torch.tensor([0.0, 10.5, 999.0]))
    return small + [
        {"t": t.clone(), "dim": dim, "flip_sin_to_cos": flip, "freq_shift": shift}
        for t, dim, flip, shift in product(times, (32, 33), (True, False), (0, 1))
    ]


def _rounding_of_an_angle(want: Any, arguments: Arguments) -> float:
    """The largest angle is t; rounding it in float32 moves its sine by as much."""
    return ROUNDING[torch.float32] * max(float(arguments["t"].max()), 1.0)


EXERCISES = (
    Exercise(
        id="9a",
        module="scratch.unet",
        function="timestep_embedding",
        page="embedding-attention",
        stage="unet",
        inputs=_for_embedding,
        wrong={m.id: _embedding(m.functions[0]) for m in NETWORKS if m.id[:2] in ("88", "89")},
        allowed=_rounding_of_an_angle,
    ),
)

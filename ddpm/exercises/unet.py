"""Exercise on `scratch.unet`: the waves of t."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.mistakes import NETWORKS
from compare.mistakes.network.unet import Waves
from ddpm.exercises.exercise import ROUNDING, Arguments, Exercise, Function, Slip


def _embedding(waves: Waves) -> Function:
    def timestep_embedding(
        t: Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
    ) -> Tensor:
        return waves(t, dim, flip_sin_to_cos, freq_shift)

    return timestep_embedding


def _angles(t: Tensor, dim: int, shift: int) -> Tensor:
    half = dim // 2
    i = torch.arange(half, dtype=torch.float64)
    return t.double()[:, None] * 10000 ** (-i / (half - shift))


def _alternating(*, shifted: bool) -> Function:
    """Entry 2i is a sine and 2i + 1 a cosine, whatever the flag says."""

    def timestep_embedding(
        t: Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
    ) -> Tensor:
        angles = _angles(t, dim, freq_shift if shifted else 0)
        made = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        return torch.nn.functional.pad(made, (0, dim % 2)).float()

    return timestep_embedding


def _whole_turns(
    t: Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
) -> Tensor:
    angles = 2 * torch.pi * _angles(t, dim, freq_shift)
    halves = [angles.sin(), angles.cos()]
    made = torch.cat(halves[::-1] if flip_sin_to_cos else halves, dim=1)
    return torch.nn.functional.pad(made, (0, dim % 2)).float()


ALTERNATING = (
    "sines and cosines alternate, as the transformer's paper prints them: here one half of the "
    "vector holds the sines and the other the cosines, and flip_sin_to_cos says which comes first"
)
SLIPS = (
    *(Slip(ALTERNATING, _alternating(shifted=shifted)) for shifted in (False, True)),
    Slip("the angle is 2 pi times too large, should be t times the frequency", _whole_turns),
)


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
        slips=SLIPS,
        allowed=_rounding_of_an_angle,
    ),
)

"""Which steps a chain visits, and which comes before each."""

import torch
from torch import Tensor

from compare.oracle.setting import Setting


def timesteps(setting: Setting, n: int) -> tuple[Tensor, int]:
    """The n steps visited, as (numerators, denominator) of their exact values: Lin et al. table 2.

    Exact, since at k + 1/2 either neighbour is right.

    >>> timesteps(Setting(num_train_timesteps=10), 3)
    (tensor([6, 3, 0]), 1)
    >>> timesteps(Setting(num_train_timesteps=10, timestep_spacing="trailing"), 3)
    (tensor([27, 17,  7]), 3)
    """
    T, i = setting.num_train_timesteps, torch.arange(n)
    if setting.timestep_spacing == "leading":
        return (i * (T // n)).flip(0) + setting.steps_offset, 1
    if setting.timestep_spacing == "trailing":
        return T * n - i * T - n, n
    return (i * (T - 1)).flip(0), max(n - 1, 1)


def previous(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    """The step before t in the chain is the one visited next, -1 after the last."""
    return following

"""Which timesteps a chain of n steps visits, out of the T that the model was trained on.

Every function returns a list of n integers in 0..T-1, from the noisiest down, for every n in 1..T.
Names and formulas follow Lin et al. 2023 (arXiv:2305.08891), Table 2, with t counted from 0.
Fractions are computed in float64 and rounded half to even; where the exact value lies halfway
between two timesteps, rounding errors may pick either, and either is right.
"""

from typing import Literal

Spacing = Literal["linspace", "leading", "trailing"]


def leading(num_train_timesteps: int, num_inference_steps: int, offset: int = 0) -> list[int]:
    """i * (T // n) + offset, i = n-1..0. Ends at `offset`; starts below T-1 unless n = T.

    For n > T/2 the stride is 1 and the list starts at n-1, where x_t is not pure noise yet though
    sampling starts from it: take another spacing there.

    Args:
        num_train_timesteps: T, at least 1.
        num_inference_steps: n in 1..T.
        offset: moves the whole list up.

    Raises:
        ValueError: `offset` is negative or pushes the first timestep past T-1.

    >>> leading(1000, 4)
    [750, 500, 250, 0]
    """
    T, n = num_train_timesteps, num_inference_steps
    stride = T // n
    highest = (n - 1) * stride + offset
    if offset < 0 or highest >= T:
        room = T - 1 - (n - 1) * stride
        raise ValueError(
            f"steps_offset={offset} makes the first of {n} leading timesteps {highest}, but t runs "
            f"0..{T - 1}; use an offset in 0..{room} or fewer steps"
        )
    return [i * stride + offset for i in reversed(range(n))]


def linspace(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """i * (T-1) / (n-1), i = n-1..0: both ends are visited. One step alone is t = 0.

    Args:
        num_train_timesteps: T, at least 1.
        num_inference_steps: n in 1..T.

    >>> linspace(1000, 4)
    [999, 666, 333, 0]
    """
    T, n = num_train_timesteps, num_inference_steps
    stride = (T - 1) / max(n - 1, 1)
    return [round(i * stride) for i in reversed(range(n))]


def trailing(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """T - i * T / n, minus 1, i = 0..n-1. Starts at T-1; ends near T/n - 1.

    Args:
        num_train_timesteps: T, at least 1.
        num_inference_steps: n in 1..T.

    >>> trailing(1000, 4)
    [999, 749, 499, 249]
    """
    T, n = num_train_timesteps, num_inference_steps
    stride = T / n
    return [round(T - i * stride) - 1 for i in range(n)]

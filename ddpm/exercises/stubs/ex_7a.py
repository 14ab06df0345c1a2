"""Exercise 7a. Write the function, then run `ddpm exercise 7a`."""

from typing import TypeVar

import torch

Level = TypeVar("Level", float, torch.Tensor)


def posterior_variance(alpha_bar: Level, alpha_bar_prev: Level) -> Level:
    """The variance of q(x_prev | x_t, x_0) (Ho et al. 2020, arXiv:2006.11239, equation 7).

    Args:
        alpha_bar: float64 in [0, 1), at this timestep.
        alpha_bar_prev: float64 in (0, 1], at the previous one.

    Returns:
        variance: a float or a float64 tensor, as the arguments are.
    """
    raise NotImplementedError

"""Exercise 6a. Write the function, then run `ddpm exercise 6a`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def posterior_mean(
    x_0: torch.Tensor,
    x_t: torch.Tensor,
    alpha_bar: AlphaBar,
    alpha_bar_prev: AlphaBar,
) -> torch.Tensor:
    """The mean of q(x_prev | x_t, x_0) (Ho et al. 2020, arXiv:2006.11239, equation 7).

    Args:
        x_0: the (clipped) prediction, any shape and float dtype.
        x_t: noisy image, like `x_0`.
        alpha_bar: float64 in [0, 1), at this timestep. The beta of the step follows from the two.
        alpha_bar_prev: float64 in (0, 1], at the previous timestep; 1 at the last step.

    Returns:
        mean: like `x_t`.
    """
    raise NotImplementedError

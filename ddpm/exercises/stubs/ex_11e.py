"""Exercise 11e. Write the function, then run `ddpm exercise 11e`."""

import torch


def ddim_mean(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar_prev: float,
    sigma: float,
) -> torch.Tensor:
    """x_prev of a DDIM step without its noise (Song et al. 2020, arXiv:2010.02502, equation 12).

    Args:
        x_0: the (clipped) prediction, any shape and float dtype.
        eps: the noise that belongs to it, like `x_0`.
        alpha_bar_prev: in (0, 1], at the previous timestep; 1 at the last step.
        sigma: std of this step's noise, in [0, sqrt(1 - alpha_bar_prev)].

    Returns:
        mean: like `x_0`.
    """
    raise NotImplementedError

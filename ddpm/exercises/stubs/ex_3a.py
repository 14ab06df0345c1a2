"""Exercise 3a. Write the function, then run `ddpm exercise 3a`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def add_noise(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """x_t, noised in one jump (Ho et al. 2020, arXiv:2006.11239, equation 4).

    Args:
        x_0: image, any shape and float dtype, in [-1, 1].
        eps: noise from N(0, I), like `x_0`.
        alpha_bar: float64 in [0, 1], a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        x_t: like `x_0`, in its dtype.
    """
    raise NotImplementedError

"""Exercise 4c. Write the function, then run `ddpm exercise 4c`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def eps_from_x_0(
    x_t: torch.Tensor,
    x_0: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """The noise in x_t, if x_0 is the image behind it (Ho et al. 2020, equation 4).

    Args:
        x_t: noisy image, any shape and float dtype.
        x_0: the image, like `x_t`.
        alpha_bar: float64 in [0, 1), a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        eps: like `x_t`.
    """
    raise NotImplementedError

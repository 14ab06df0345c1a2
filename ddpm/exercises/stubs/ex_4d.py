"""Exercise 4d. Write the function, then run `ddpm exercise 4d`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def velocity(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """The velocity v (Salimans & Ho 2022, arXiv:2202.00512, Section 4).

    Args:
        x_0: image, any shape and float dtype, in [-1, 1].
        eps: noise from N(0, I), like `x_0`.
        alpha_bar: float64 in [0, 1], a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        v: like `x_0`, in its dtype.
    """
    raise NotImplementedError

"""Exercise 4b. Write the function, then run `ddpm exercise 4b`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def x_0_from_v(
    x_t: torch.Tensor,
    v: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """The image, if v is its velocity (Salimans & Ho 2022, arXiv:2202.00512, Section 4).

    Args:
        x_t: noisy image, any shape and float dtype.
        v: the velocity that the network predicts, like `x_t`.
        alpha_bar: float64 in [0, 1], a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        x_0: like `x_t`, not clipped.
    """
    raise NotImplementedError

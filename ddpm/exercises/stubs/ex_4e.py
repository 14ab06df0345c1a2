"""Exercise 4e. Write the function, then run `ddpm exercise 4e`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def eps_from_v(
    x_t: torch.Tensor,
    v: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """The noise in x_t, if v is the velocity (Salimans & Ho 2022, arXiv:2202.00512, Appendix D).

    Args:
        x_t: noisy image, any shape and float dtype.
        v: the velocity that the network predicts, like `x_t`.
        alpha_bar: float64 in [0, 1], a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        eps: like `x_t`.
    """
    raise NotImplementedError

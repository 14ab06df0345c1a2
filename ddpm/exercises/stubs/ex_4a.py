"""Exercise 4a. Write the function, then run `ddpm exercise 4a`."""

import torch

from scratch.forward import AlphaBar, cast_like  # noqa: F401


def x_0_from_eps(
    x_t: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """The image, if eps is the noise in x_t (Ho et al. 2020, arXiv:2006.11239, equation 15).

    Args:
        x_t: noisy image, any shape and float dtype.
        eps: the noise that the network sees in it, like `x_t`.
        alpha_bar: float64 in (0, 1], a number or (b, 1, 1, 1); `cast_like` casts the result.

    Returns:
        x_0: like `x_t`, not clipped.
    """
    raise NotImplementedError

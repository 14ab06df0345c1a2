"""The forward process: how an image x_0 becomes noise, in one jump.

Formulas take `alpha_bar` (float64), never a schedule and an index, so that full chains, strided
chains and DDIM share them. A number serves one t for the whole batch; a tensor that broadcasts,
(b, 1, 1, 1) for images, one t per image. Coefficients are computed in float64 and cast once, so
the result keeps the dtype of the image, half precision included.
"""

import torch

AlphaBar = float | torch.Tensor


def cast_like(coefficient: AlphaBar, x: torch.Tensor) -> AlphaBar:
    """Cast a float64 coefficient to the dtype and device of `x`; a Python float stays as it is.

    A float64 tensor of shape (b, 1, 1, 1) would otherwise turn a float32 image into float64.
    """
    return coefficient.to(x) if isinstance(coefficient, torch.Tensor) else coefficient


# region: add_noise
def add_noise(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 4.

    Args:
        x_0: image, any shape and float dtype, in [-1, 1].
        eps: noise from N(0, I), like `x_0`.
        alpha_bar: float64 in [0, 1], broadcasts with `x_0`.

    Returns:
        x_t: like `x_0`.

    >>> add_noise(torch.ones(1), torch.ones(1), 0.36)
    tensor([1.4000])
    """
    signal = cast_like(alpha_bar**0.5, x_0)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_0)
    return signal * x_0 + sigma * eps


# endregion: add_noise


# region: velocity
def velocity(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), Section 4.

    Args:
        x_0: image, any shape and float dtype, in [-1, 1].
        eps: noise from N(0, I), like `x_0`.
        alpha_bar: float64 in [0, 1], broadcasts with `x_0`.

    Returns:
        v: like `x_0`.

    >>> velocity(torch.ones(1), torch.ones(1), 0.36)
    tensor([-0.2000])
    """
    signal = cast_like(alpha_bar**0.5, x_0)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_0)
    return signal * eps - sigma * x_0


# endregion: velocity

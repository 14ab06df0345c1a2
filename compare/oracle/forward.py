"""From an image to noise in one jump, and the velocity."""

from torch import Tensor


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))  # (b, 1, 1, 1)


def add_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, per image: Ho et al. eq. 4."""
    alpha_bar = table[t]
    return _per_image(alpha_bar.sqrt(), x_0) * x_0 + _per_image((1 - alpha_bar).sqrt(), x_0) * noise


def velocity(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, per image: Salimans & Ho, section 4."""
    alpha_bar = table[t]
    return _per_image(alpha_bar.sqrt(), x_0) * noise - _per_image((1 - alpha_bar).sqrt(), x_0) * x_0

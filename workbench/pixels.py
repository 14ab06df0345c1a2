"""Images in [-1, 1] from pixels of 0 to 255, and back."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


def from_uint8(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Images from pixels: x = pixel / 127.5 - 1.

    Args:
        pixels: (n, h, w, c) uint8.

    Returns:
        (n, c, h, w) float32 in [-1, 1].
    """
    return from_levels(channels_first(pixels))


def from_levels(levels: torch.Tensor) -> torch.Tensor:
    """Images from levels: x = level / 127.5 - 1, the same bits on every device.

    Args:
        levels: (n, c, h, w) uint8; images that are float32 come back as they are.

    Returns:
        (n, c, h, w) float32 in [-1, 1] on the same device.
    """
    if levels.dtype == torch.float32:
        return levels
    if levels.device.type == "cpu":
        return levels.contiguous().to(torch.float32).div_(127.5).sub_(1)
    each = image_of_each_level(levels.device)  # as CUDA rounds a division otherwise
    return each.index_select(0, levels.flatten().int()).reshape(levels.shape)


@lru_cache
def image_of_each_level(device: torch.device) -> torch.Tensor:
    """x of each level: (256,) float32 from -1 to 1."""
    return from_levels(torch.arange(256, dtype=torch.uint8)).to(device)


def channels_first(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Pixels (n, h, w, c) uint8 as (n, c, h, w), without a copy."""
    writable = np.require(pixels, requirements="W")  # PyTorch warns about others
    return torch.from_numpy(writable).permute(0, 3, 1, 2)


def to_uint8(images: torch.Tensor) -> NDArray[np.uint8]:
    """Pixels from images, the inverse of `from_uint8`: 255 (x + 1) / 2, clamped and rounded.

    Args:
        images: (n, c, h, w), floating point; what is outside [-1, 1] is clamped.

    Returns:
        (n, h, w, c) uint8.

    Raises:
        ValueError: a value is NaN.

    >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0, 9.0]).reshape(4, 1, 1, 1)).ravel().tolist()
    [0, 128, 255, 255]
    """
    values = images.detach().cpu().float()
    if values.isnan().any():
        raise ValueError("images contain NaN; what made them has diverged")
    levels = ((values + 1) / 2).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()  # (n, h, w, c)

"""Exercise 12a. Write the function, then run `ddpm exercise 12a`."""

from collections.abc import Sequence

import torch

from scratch.noise import Generators


def draw_noise(
    shape: Sequence[int], generator: Generators, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Noise for a batch of images, from one generator or from one for each image.

    Args:
        shape: (b, c, h, w).
        generator: one, a list of b, or None for the device's own. It may live on the CPU while
            `device` is another.
        device, dtype: of the result.

    Returns:
        z: (b, c, h, w) from N(0, I).
    """
    raise NotImplementedError

"""Exercise 9a. Write the function, then run `ddpm exercise 9a`."""

import torch


def timestep_embedding(
    t: torch.Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
) -> torch.Tensor:
    """Waves of t (Vaswani et al. 2017, arXiv:1706.03762, section 3.5), in either convention.

    Args:
        t: (b,) timesteps, integer or float.
        dim: length of a vector; an odd one ends in a zero.
        flip_sin_to_cos: the cosines are the first half, not the sines.
        freq_shift: 0 or 1, subtracted from dim // 2 where the exponent is divided by it.

    Returns:
        (b, dim) float32 in [-1, 1], whatever the dtype of t.
    """
    raise NotImplementedError

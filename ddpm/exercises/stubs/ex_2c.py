"""Exercise 2c. Write the function, then run `ddpm exercise 2c`."""

import torch


def zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Betas whose last alpha_bar is 0 (Lin et al. 2023, arXiv:2305.08891, Algorithm 1).

    Args:
        betas: (T,) float64 in (0, 1), T > 1.

    Returns:
        betas: (T,) float64; the last one is exactly 1.
    """
    raise NotImplementedError

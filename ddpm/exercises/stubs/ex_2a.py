"""Exercise 2a. Write the function, then run `ddpm exercise 2a`."""

import torch


def linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """beta_t on a straight line (Ho et al. 2020, arXiv:2006.11239, Section 4).

    Args:
        num_train_timesteps: T.
        beta_start, beta_end: the ends, in (0, 1).

    Returns:
        betas: (T,) float64.
    """
    raise NotImplementedError

"""Exercise 2d. Write the function, then run `ddpm exercise 2d`."""

import torch


def scaled_linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """The square root of beta_t on a straight line: the schedule of latent diffusion.

    Args:
        num_train_timesteps: T.
        beta_start, beta_end: the ends, in (0, 1).

    Returns:
        betas: (T,) float64.
    """
    raise NotImplementedError

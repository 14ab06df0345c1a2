"""Exercise 2e. Write the function, then run `ddpm exercise 2e`."""

import torch


def sigmoid(num_train_timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:
    """beta_t along a logistic curve, read from -6 to 6, between the two ends.

    Args:
        num_train_timesteps: T.
        beta_start, beta_end: the ends, in (0, 1).

    Returns:
        betas: (T,) float64.
    """
    raise NotImplementedError

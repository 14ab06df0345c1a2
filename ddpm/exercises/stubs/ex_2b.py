"""Exercise 2b. Write the function, then run `ddpm exercise 2b`."""

import torch


def cosine(num_train_timesteps: int, max_beta: float = 0.999) -> torch.Tensor:
    """beta_t of the cosine schedule (Nichol & Dhariwal 2021, arXiv:2102.09672, equation 17).

    Args:
        num_train_timesteps: T.
        max_beta: no beta is larger; the paper says why below the equation.

    Returns:
        betas: (T,) float64.
    """
    raise NotImplementedError

"""Exercise 11c. Write the function, then run `ddpm exercise 11c`."""


def trailing(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Every (T / n)-th timestep from the top, rounded (Lin et al. 2023, arXiv:2305.08891, Table 2).

    Args:
        num_train_timesteps, num_inference_steps: T and n, with 1 <= n <= T.

    Returns:
        timesteps: n integers in 0..T-1, falling.
    """
    raise NotImplementedError

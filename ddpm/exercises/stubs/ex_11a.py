"""Exercise 11a. Write the function, then run `ddpm exercise 11a`."""


def leading(num_train_timesteps: int, num_inference_steps: int, offset: int = 0) -> list[int]:
    """Every (T // n)-th timestep from the bottom (Lin et al. 2023, arXiv:2305.08891, Table 2).

    Args:
        num_train_timesteps, num_inference_steps: T and n, with 1 <= n <= T.
        offset: added to each; one that passes T-1 is a ValueError.

    Returns:
        timesteps: n integers in 0..T-1, falling.
    """
    raise NotImplementedError

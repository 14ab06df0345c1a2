"""Exercise 11b. Write the function, then run `ddpm exercise 11b`."""


def linspace(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Evenly from T-1 to 0, rounded; n = 1 gives 0 (Lin et al. 2023, arXiv:2305.08891, Table 2).

    Args:
        num_train_timesteps, num_inference_steps: T and n, with 1 <= n <= T.

    Returns:
        timesteps: n integers in 0..T-1, falling.
    """
    raise NotImplementedError

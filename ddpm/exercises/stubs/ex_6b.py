"""Exercise 6b. Write the function, then run `ddpm exercise 6b`."""

import torch


def dynamic_threshold(
    x_0: torch.Tensor,
    ratio: float,
    max_value: float,
) -> torch.Tensor:
    """Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, Section 2.3).

    Args:
        x_0: (b, ...) any float dtype; images are judged one by one.
        ratio: the quantile of |x_0|, in [0, 1].
        max_value: the largest value that the quantile may have; the smallest is 1.

    Returns:
        x_0: like the input, in [-1, 1].
    """
    raise NotImplementedError

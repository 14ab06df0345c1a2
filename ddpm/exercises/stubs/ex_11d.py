"""Exercise 11d. Write the function, then run `ddpm exercise 11d`."""


def ddim_sigma(eta: float, alpha_bar: float, alpha_bar_prev: float) -> float:
    """The std of the noise of a DDIM step (Song et al. 2020, arXiv:2010.02502, equation 16).

    Args:
        eta: 0 for DDIM, 1 for DDPM.
        alpha_bar: in [0, 1), at this timestep.
        alpha_bar_prev: in (0, 1], at the previous timestep; 1 at the last step.

    Returns:
        sigma: a float.
    """
    raise NotImplementedError

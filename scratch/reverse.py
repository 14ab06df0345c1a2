"""The reverse process: from what the network says about x_t to the law of x_prev.

Every formula takes `alpha_bar` and, where the previous step matters, `alpha_bar_prev` (1 before the
first step). One step of a strided chain is the same formula with the alpha_bar of the previous
timestep *of the list*: its beta is 1 - alpha_bar / alpha_bar_prev, not `betas[t]`.

`alpha_bar` is float64, a number or a tensor that broadcasts with the image, (b, 1, 1, 1); results
have the dtype of the image.
"""

from typing import TypeVar

import torch

from scratch.forward import AlphaBar, cast_like

Level = TypeVar("Level", float, torch.Tensor)  # a float in gives a float out


# region: x_0_from_eps
def x_0_from_eps(
    x_t: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """x_0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar).

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 15.

    Args:
        x_t: noisy image, any shape and float dtype.
        eps: the noise that the network sees in it, like `x_t`.
        alpha_bar: float64 in (0, 1].

    Returns:
        x_0: like `x_t`, not clipped.

    >>> x_0_from_eps(torch.tensor([1.4]), torch.ones(1), 0.36)
    tensor([1.0000])
    """
    signal = cast_like(alpha_bar**0.5, x_t)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_t)
    return (x_t - sigma * eps) / signal


# endregion: x_0_from_eps


# region: x_0_from_v
def x_0_from_v(
    x_t: torch.Tensor,
    v: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """x_0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), Section 4.

    Args:
        x_t: noisy image, any shape and float dtype.
        v: the velocity that the network predicts, like `x_t`.
        alpha_bar: float64 in [0, 1]; finite at 0, unlike eps.

    Returns:
        x_0: like `x_t`, not clipped.

    >>> x_t, v = torch.tensor([1.4]), torch.tensor([-0.2])
    >>> x_0_from_v(x_t, v, 0.36)
    tensor([1.])
    """
    signal = cast_like(alpha_bar**0.5, x_t)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_t)
    return signal * x_t - sigma * v


# endregion: x_0_from_v


# region: eps_from_x_0
def eps_from_x_0(
    x_t: torch.Tensor,
    x_0: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """eps = (x_t - sqrt(alpha_bar) x_0) / sqrt(1 - alpha_bar).

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 4.

    Args:
        x_t: noisy image, any shape and float dtype.
        x_0: the image believed to be behind it, like `x_t`.
        alpha_bar: float64 in [0, 1).

    Returns:
        eps: like `x_t`.

    >>> eps_from_x_0(torch.tensor([1.4]), torch.ones(1), 0.36)
    tensor([1.0000])
    """
    signal = cast_like(alpha_bar**0.5, x_t)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_t)
    return (x_t - signal * x_0) / sigma


# endregion: eps_from_x_0


# region: eps_from_v
def eps_from_v(
    x_t: torch.Tensor,
    v: torch.Tensor,
    alpha_bar: AlphaBar,
) -> torch.Tensor:
    """eps = sqrt(alpha_bar) v + sqrt(1 - alpha_bar) x_t.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), Appendix D.

    Args:
        x_t: noisy image, any shape and float dtype.
        v: the velocity that the network predicts, like `x_t`.
        alpha_bar: float64 in [0, 1].

    Returns:
        eps: like `x_t`.

    >>> x_t, v = torch.tensor([1.4]), torch.tensor([-0.2])
    >>> eps_from_v(x_t, v, 0.36)
    tensor([1.])
    """
    signal = cast_like(alpha_bar**0.5, x_t)
    sigma = cast_like((1 - alpha_bar) ** 0.5, x_t)
    return signal * v + sigma * x_t


# endregion: eps_from_v


# region: dynamic_threshold
def dynamic_threshold(
    x_0: torch.Tensor,
    ratio: float,
    max_value: float,
) -> torch.Tensor:
    """x_0 <- clamp(x_0, -s, s) / s, with an s for each image.

    s is the `ratio` quantile of |x_0|, kept in [1, max_value];
    with s = 1 this is plain clipping to [-1, 1].

    Source: Saharia et al. 2022 (arXiv:2205.11487), Section 2.3.

    Args:
        x_0: (b, ...) float; images are judged one by one.
        ratio: the quantile, in [0, 1].
        max_value: the largest s, at least 1.

    Returns:
        x_0: like the input, in [-1, 1].

    >>> x_0 = torch.tensor([[0.5, 4.0], [0.5, 1.0]])
    >>> dynamic_threshold(x_0, ratio=1.0, max_value=2.0)
    tensor([[0.2500, 1.0000],
            [0.5000, 1.0000]])
    """
    wide = x_0.to(torch.promote_types(x_0.dtype, torch.float32))
    s = wide.abs().flatten(1).quantile(ratio, dim=1)  # (b,)
    s = s.clamp(1, max_value)
    s = s.reshape(-1, *[1] * (x_0.ndim - 1))  # (b, 1, 1, 1)
    return (wide.clamp(-s, s) / s).to(x_0.dtype)


# endregion: dynamic_threshold


# region: posterior_mean
def posterior_mean(
    x_0: torch.Tensor,
    x_t: torch.Tensor,
    alpha_bar: AlphaBar,
    alpha_bar_prev: AlphaBar,
) -> torch.Tensor:
    """The mean of q(x_prev | x_t, x_0).

    beta = 1 - alpha_bar / alpha_bar_prev, alpha = 1 - beta
    of_x_0 = sqrt(alpha_bar_prev) beta / (1 - alpha_bar)
    of_x_t = sqrt(alpha) (1 - alpha_bar_prev) / (1 - alpha_bar)
    mean = of_x_0 x_0 + of_x_t x_t

    With x_0 from eps this is the epsilon form (equation 11);
    clipping x_0 first is what makes the two differ.

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 7.

    Args:
        x_0: the (clipped) prediction, any shape, float.
        x_t: noisy image, like `x_0`.
        alpha_bar: float64 in [0, 1), at this timestep.
        alpha_bar_prev: float64 in (0, 1], at the previous one.

    Returns:
        mean: like `x_t`.

    >>> x_0, x_t = torch.ones(1), torch.tensor([1.4])
    >>> posterior_mean(x_0, x_t, 0.36, alpha_bar_prev=1.0)
    tensor([1.])
    """
    alpha = alpha_bar / alpha_bar_prev
    beta = 1 - alpha
    of_x_0 = alpha_bar_prev**0.5 * beta / (1 - alpha_bar)
    of_x_t = alpha**0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar)
    of_x_0 = cast_like(of_x_0, x_t)
    of_x_t = cast_like(of_x_t, x_t)
    return of_x_0 * x_0 + of_x_t * x_t


# endregion: posterior_mean


# region: posterior_variance
def posterior_variance(
    alpha_bar: Level,
    alpha_bar_prev: Level,
) -> Level:
    """The variance of q(x_prev | x_t, x_0), called beta-tilde.

    beta = 1 - alpha_bar / alpha_bar_prev
    variance = (1 - alpha_bar_prev) / (1 - alpha_bar) beta

    It is the right variance for data that are a single point.
    The paper's other choice, beta itself (`fixed_large`), is
    the right one for data that are N(0, I), and larger.

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 7; the
    two choices: Section 3.2.

    Args:
        alpha_bar: float64 in [0, 1), at this timestep.
        alpha_bar_prev: float64 in (0, 1], at the previous one.

    Returns:
        variance: float64, as the arguments are; 0 at the last
            step, where alpha_bar_prev is 1.

    >>> round(posterior_variance(0.36, 0.72), 6)
    0.21875
    """
    beta = 1 - alpha_bar / alpha_bar_prev
    return (1 - alpha_bar_prev) / (1 - alpha_bar) * beta


# endregion: posterior_variance

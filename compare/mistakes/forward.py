"""Mistakes in add_noise and get_velocity.

Right: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (Ho et al. eq. 4);
v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0 (Salimans & Ho, section 4).
"""

from functools import partial

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import entry
from compare.oracle import F64

mistake = partial(entry, stage="forward")


def mixed(x_0: Tensor, noise: Tensor, c_0: Tensor, c_1: Tensor) -> Tensor:
    """c_0 x_0 + c_1 noise, with one coefficient of each for an image."""
    per_image = (-1, *[1] * (x_0.dim() - 1))  # (b, 1, 1, 1)
    c_0, c_1 = (c.to(x_0.dtype).reshape(per_image) for c in (c_0, c_1))
    return c_0 * x_0 + c_1 * noise


@mistake(
    "5",
    "add_noise",
    fix="sqrt(alpha_bar) * x_0",
    effect="darker pictures of a little less contrast",
)
def signal_without_root(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise multiplies x_0 by alpha-bar, should be sqrt(alpha-bar) (Ho et al. eq. 4)"""
    alpha_bar = table[t]
    return mixed(x_0, noise, alpha_bar, (1 - alpha_bar).sqrt())


@mistake(
    "6",
    "add_noise",
    fix="sqrt(1 - alpha_bar) * noise",
    effect="noisy pictures: a third too much spread, as the model never saw so much noise",
    seen_in=("Ryota-Kawamura/How-Diffusion-Models-Work#1",),
)
def variance_for_noise_level(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise multiplies the noise by 1 - alpha-bar, the variance, should be its square root
    (Ho et al. eq. 4)"""
    alpha_bar = table[t]
    return mixed(x_0, noise, alpha_bar.sqrt(), 1 - alpha_bar)


@mistake(
    "5-6",
    "add_noise",
    fix="sqrt(alpha_bar) * x_0 + sqrt(1 - alpha_bar) * noise",
    effect="darker, noisier pictures",
)
def no_roots_at_all(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise uses alpha-bar and 1 - alpha-bar without square roots (Ho et al. eq. 4)"""
    alpha_bar = table[t]
    return mixed(x_0, noise, alpha_bar, 1 - alpha_bar)


@mistake(
    "5-swapped",
    "add_noise",
    fix="sqrt(alpha_bar) goes with x_0",
    effect="t = 0 is pure noise and t = T-1 the picture: samples are little more than noise",
)
def signal_and_noise_exchanged(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """the two coefficients of add_noise are swapped (Ho et al. eq. 4)"""
    alpha_bar = table[t]
    return mixed(x_0, noise, (1 - alpha_bar).sqrt(), alpha_bar.sqrt())


@mistake(
    "4-forward",
    "add_noise",
    fix="index alpha_bar, not alpha",
    effect="samples are noise: the model only ever saw nearly clean pictures",
)
def alpha_in_add_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise uses alpha_t where it needs the product alpha-bar_t (Ho et al. eq. 4): almost
    no noise"""
    before = torch.cat([torch.ones(1, dtype=F64), table[:-1]])
    return right.add_noise(x_0, noise, table / before, t)


@mistake(
    "2-forward",
    "add_noise",
    fix="index the table with t",
    effect="the pictures look right: each x_t has the noise of the step before",
)
def add_noise_one_step_early(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise reads alpha-bar[t-1] as alpha-bar_t"""
    return right.add_noise(x_0, noise, table, (t - 1).clamp(min=0))


@mistake(
    "2-wraps",
    "add_noise",
    fix="index the table with t",
    effect="each x_t has the noise of the step before, and that of t = 0, where the step before is "
    "the last entry, is pure noise",
)
def add_noise_reads_before_the_table(
    x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor
) -> Tensor:
    """add_noise reads alpha-bar[t-1] as alpha-bar_t, and at t = 0 the last entry of the table"""
    return right.add_noise(x_0, noise, table, t - 1)


@mistake(
    "17-forward",
    "add_noise",
    fix="use the noise argument (drawn by randn)",
    effect="the loss stays near 1: its target is other noise than that in x_t",
)
def own_uniform_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise draws uniform noise of its own and ignores the noise it is given"""
    return right.add_noise(x_0, torch.rand(x_0.shape).to(x_0.dtype), table, t)


@mistake(
    "18-forward",
    "add_noise",
    fix="use the noise argument",
    effect="the loss stays near 1: its target is other noise than that in x_t",
)
def own_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """add_noise draws noise of its own and ignores the noise it is given, so that the loss has
    another target"""
    return right.add_noise(x_0, torch.randn(x_0.shape).to(x_0.dtype), table, t)


@mistake(
    "21",
    "add_noise",
    fix="reshape them to (b, 1, 1, 1)",
    effect="an error, unless the batch is as large as the image is wide: then each column has its "
    "own t",
    seen_in=("jolibrain/joliGEN#527",),
)
def coefficients_on_the_last_axis(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """the (b,) coefficients multiply the last axis of the image, not the batch"""
    alpha_bar = table[t]
    return alpha_bar.sqrt().to(x_0.dtype) * x_0 + (1 - alpha_bar).sqrt().to(x_0.dtype) * noise


@mistake(
    "22",
    "add_noise",
    fix="alpha_bar[t].flatten() before unsqueezing",
    effect="right for t of shape (b,); with (b, 1) an error, or the t of one image on the rows of "
    "others",
    seen_in=("huggingface/diffusers#648",),
)
def t_not_flattened(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """t is not flattened before its coefficients are reshaped, so an unusual shape of t meets
    the wrong axis"""
    alpha_bar = table[t]
    while alpha_bar.dim() < x_0.dim():
        alpha_bar = alpha_bar.unsqueeze(-1)
    return alpha_bar.sqrt().to(x_0.dtype) * x_0 + (1 - alpha_bar).sqrt().to(x_0.dtype) * noise


@mistake(
    "31",
    "add_noise",
    fix="compute the coefficients in float32 and cast them",
    effect="in float16 no noise at the first steps; in bfloat16 a third too much of it at t = 10",
    seen_in=("huggingface/diffusers#9004",),
)
def cast_before_subtraction(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """1 - alpha-bar is computed after the cast to half precision: no noise at t = 0"""
    if x_0.dtype not in (torch.float16, torch.bfloat16):
        return right.add_noise(x_0, noise, table, t)
    alpha_bar = table.to(x_0.dtype)[t].reshape(-1, *[1] * (x_0.dim() - 1))
    return alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * noise


@mistake(
    "24-velocity",
    "velocity",
    fix="flip the sign",
    effect="it trains as well, and samples leave the range of the data",
)
def velocity_with_wrong_sign(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """the velocity target has the wrong sign, should be sqrt(alpha-bar) noise - sqrt(1 -
    alpha-bar) x_0 (Salimans & Ho, section 4)"""
    return -right.velocity(x_0, noise, table, t)


@mistake(
    "25-velocity",
    "velocity",
    fix="sqrt(alpha_bar) goes with the noise",
    effect="it trains as well, and samples are too bright, of more than twice the contrast",
)
def velocity_with_levels_swapped(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """signal and noise level are swapped in the velocity target (Salimans & Ho, section 4)"""
    return right.velocity(x_0, noise, 1 - table, t)

"""Mistakes in the tables of alpha-bar and of alpha.

Right: alpha_bar_prev is 1 and then alpha_bar without its last entry; sqrt_alphas_cumprod is
sqrt(alpha_bar), sqrt_one_minus_alphas_cumprod sqrt(1 - alpha_bar) (Ho et al. eq. 4);
sqrt_recip_alphas is 1 / sqrt(alpha) (eq. 11), sqrt_recip_alphas_cumprod 1 / sqrt(alpha_bar),
sqrt_recipm1_alphas_cumprod sqrt(1 / alpha_bar - 1) (eq. 15).
"""

import torch
from torch import Tensor

from compare.mistakes.tables import wrong
from compare.oracle import Steps

PREV = "put 1 in front and drop the last entry: cat([1, alpha_bar[:-1]])"


def _behind(first: Tensor, at: Steps) -> Tensor:
    return torch.cat([first, at.alpha_bar[:-1]])


@wrong(
    "3-table",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="faint grain on the pictures, and twice the contrast where the weights are made of it: "
    "the last step is told that there is noise before it",
)
def previous_begins_with_alpha_bar_0(at: Steps) -> Tensor:
    """alphas_cumprod_prev begins with alpha-bar_0, should begin with 1 (Ho et al. eq. 7)"""
    return _behind(at.alpha_bar[:1], at)


@wrong(
    "3-zero",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="the last step loses x0-hat: its weight is sqrt(0), and that of x_1 is 1 / beta_0",
)
def previous_padded_with_zero(at: Steps) -> Tensor:
    """alphas_cumprod_prev is padded with 0, should begin with 1 (Ho et al. eq. 7)"""
    return _behind(torch.zeros_like(at.alpha_bar[:1]), at)


@wrong(
    "3-roll",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="the finished picture is black and white: its last step multiplies x_1 by 1 / beta_0",
)
def previous_is_rolled(at: Steps) -> Tensor:
    """alphas_cumprod_prev is rolled, so that it begins with the last entry, alpha-bar_{T-1};
    should begin with 1 (Ho et al. eq. 7)"""
    return at.alpha_bar.roll(1)


@wrong(
    "3-next",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="samples explode: each step goes to more noise, not to less",
)
def previous_shifted_to_the_next(at: Steps) -> Tensor:
    """alphas_cumprod_prev is shifted the wrong way: it holds alpha-bar_{t+1} and then 0, should
    hold 1 and then alpha-bar_{t-1} (Ho et al. eq. 7)"""
    return torch.cat([at.alpha_bar[1:], torch.zeros_like(at.alpha_bar[:1])])


@wrong(
    "3-next-one",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="samples explode: each step goes to more noise, not to less",
)
def one_padded_behind(at: Steps) -> Tensor:
    """the 1 of alphas_cumprod_prev is put behind alpha_bar[1:], should be before alpha_bar[:-1]
    (Ho et al. eq. 7)"""
    return torch.cat([at.alpha_bar[1:], torch.ones_like(at.alpha_bar[:1])])


@wrong(
    "40-table-same",
    "alphas_cumprod_prev",
    fix=PREV,
    effect="samples explode: x_t hardly shrinks, and x0-hat is added to it at every step",
)
def previous_is_not_shifted(at: Steps) -> Tensor:
    """alphas_cumprod_prev is alphas_cumprod itself, should be shifted by one step behind a 1 (Ho
    et al. eq. 7)"""
    return at.alpha_bar


@wrong(
    "5-table",
    "sqrt_alphas_cumprod",
    fix="sqrt(alpha_bar)",
    effect="as if there were more noise: x_t of training is too dark",
)
def signal_table_without_root(at: Steps) -> Tensor:
    """sqrt_alphas_cumprod is alpha-bar_t, should be its square root (Ho et al. eq. 4)"""
    return at.alpha_bar


@wrong(
    "5-table-alpha",
    "sqrt_alphas_cumprod",
    fix="sqrt(alpha_bar), with alpha_bar = cumprod(alpha)",
    effect="x_t keeps nearly all of the picture at every t: samples, which start from noise, fail",
)
def signal_table_of_alpha(at: Steps) -> Tensor:
    """sqrt_alphas_cumprod is sqrt(alpha_t), should be sqrt(alpha-bar_t) (Ho et al. eq. 4)"""
    return at.alpha.sqrt()


@wrong(
    "6-table",
    "sqrt_one_minus_alphas_cumprod",
    fix="sqrt(1 - alpha_bar)",
    effect="too little noise at small t: pictures keep grain",
)
def noise_table_without_root(at: Steps) -> Tensor:
    """sqrt_one_minus_alphas_cumprod is 1-ab, should be its square root (Ho et al. eq. 4)"""
    return 1 - at.alpha_bar


@wrong(
    "6-table-outside",
    "sqrt_one_minus_alphas_cumprod",
    fix="sqrt(1 - alpha_bar)",
    effect="too little noise at every t: pictures keep grain",
)
def one_minus_the_root(at: Steps) -> Tensor:
    """sqrt_one_minus_alphas_cumprod is 1 - sqrt(ab), should be sqrt(1-ab) (Ho et al. eq. 4)"""
    return 1 - at.alpha_bar.sqrt()


@wrong(
    "6-table-beta",
    "sqrt_one_minus_alphas_cumprod",
    fix="sqrt(1 - alpha_bar), with alpha_bar = cumprod(alpha)",
    effect="hardly any noise is ever added",
)
def noise_table_of_alpha(at: Steps) -> Tensor:
    """sqrt_one_minus_alphas_cumprod is sqrt(1 - alpha_t), should be sqrt(1-ab) (Ho et al. eq.
    4)"""
    return (1 - at.alpha).sqrt()


@wrong(
    "6-table-log",
    "log_one_minus_alphas_cumprod",
    fix="log(1 - alpha_bar)",
    effect="a likelihood that is computed with it is wrong",
)
def log_of_the_noise_level(at: Steps) -> Tensor:
    """log_one_minus_alphas_cumprod is the logarithm of sqrt(1-ab), should be that of 1-ab (Ho et
    al. eq. 4)"""
    return 0.5 * (1 - at.alpha_bar).log()


@wrong(
    "45-table",
    "sqrt_recip_alphas",
    fix="sqrt(1 / alpha)",
    effect="flat pictures: every step shrinks x_t, where it should stretch it",
)
def root_without_reciprocal(at: Steps) -> Tensor:
    """sqrt_recip_alphas is sqrt(alpha_t), should be 1 / sqrt(alpha_t) (Ho et al. eq. 11)"""
    return at.alpha.sqrt()


@wrong(
    "45-table-root",
    "sqrt_recip_alphas",
    fix="sqrt(1 / alpha)",
    effect="brighter pictures of twice the contrast",
)
def reciprocal_without_root(at: Steps) -> Tensor:
    """sqrt_recip_alphas is 1 / alpha_t, should be 1 / sqrt(alpha_t) (Ho et al. eq. 11)"""
    return 1 / at.alpha


@wrong(
    "45-table-bar",
    "sqrt_recip_alphas",
    fix="sqrt(1 / alpha), of alpha_t alone",
    effect="samples explode: each step divides by the whole product",
)
def reciprocal_of_alpha_bar(at: Steps) -> Tensor:
    """sqrt_recip_alphas is 1 / sqrt(alpha-bar_t), should be 1 / sqrt(alpha_t) (Ho et al. eq.
    11)"""
    return at.alpha_bar.rsqrt()


@wrong(
    "43-table",
    "noise_coef",
    fix="beta / sqrt(1 - alpha_bar)",
    effect="over-smooth: a fifth of the contrast is left",
)
def noise_table_over_variance(at: Steps) -> Tensor:
    """the table of what the noise is scaled by is beta / (1-ab), should be beta / sqrt(1-ab) (Ho
    et al. eq. 11)"""
    return at.beta / (1 - at.alpha_bar)


@wrong(
    "42-table",
    "sqrt_recip_alphas_cumprod",
    fix="sqrt(1 / alpha_bar)",
    effect="x0-hat is far too large at large t: saturated pictures, if it is clipped",
)
def x_0_table_without_root(at: Steps) -> Tensor:
    """sqrt_recip_alphas_cumprod is 1/ab, should be 1 / sqrt(ab) (Ho et al. eq. 15)"""
    return 1 / at.alpha_bar


@wrong(
    "42-table-root",
    "sqrt_recip_alphas_cumprod",
    fix="sqrt(1 / alpha_bar)",
    effect="x0-hat is nearly all noise at large t: flat pictures",
)
def x_0_table_without_reciprocal(at: Steps) -> Tensor:
    """sqrt_recip_alphas_cumprod is sqrt(ab), should be 1 / sqrt(ab) (Ho et al. eq. 15)"""
    return at.alpha_bar.sqrt()


@wrong(
    "42-table-noise",
    "sqrt_recipm1_alphas_cumprod",
    fix="sqrt(1 / alpha_bar - 1)",
    effect="x0-hat keeps noise at small t, and has too much taken off at large t",
)
def noise_of_x_0_without_root(at: Steps) -> Tensor:
    """sqrt_recipm1_alphas_cumprod is 1/ab - 1, should be its square root (Ho et al. eq. 15)"""
    return 1 / at.alpha_bar - 1


@wrong(
    "42-table-outside",
    "sqrt_recipm1_alphas_cumprod",
    fix="sqrt(1 / alpha_bar - 1)",
    effect="x0-hat keeps noise: grain on the pictures",
)
def one_off_the_root(at: Steps) -> Tensor:
    """sqrt_recipm1_alphas_cumprod is sqrt(1/ab) - 1, should be sqrt(1/ab - 1) (Ho et al. eq.
    15)"""
    return at.alpha_bar.rsqrt() - 1

"""Mistakes in x0-hat, in its clipping, and in the noise that DDIM derives from it.

Right: x0-hat = (x_t - sqrt(1-ab) eps) / sqrt(ab) (Ho et al. eq. 15), or sqrt(ab) x_t - sqrt(1-ab) v
(Salimans & Ho, appendix D), or the output itself; then clipped to the range of the data.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import entry
from compare.oracle import Level, Setting

mistake = partial(entry, stage="prediction")


def levels(level: Level) -> tuple[Tensor, Tensor]:
    """How much signal there is at a place of the chain, and how much noise."""
    return level.alpha_bar.sqrt(), (1 - level.alpha_bar).sqrt()


@mistake(
    "24",
    "x_0",
    fix="sqrt(ab) x_t - sqrt(1-ab) v",
    effect="samples leave the range of the data: each step adds the noise that it should remove",
)
def v_with_wrong_sign(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """v is read with the wrong sign: x0-hat = sqrt(ab) x_t + sqrt(1-ab) v, should be minus
    (Salimans & Ho, appendix D)"""
    if kind != "v_prediction":
        return right.x_0(kind, out, x_t, level)
    signal, noise = levels(level)
    return signal * x_t + noise * out


@mistake(
    "25",
    "x_0",
    fix="sqrt(ab) x_t - sqrt(1-ab) v",
    effect="samples are one flat grey",
)
def v_with_levels_swapped(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """signal and noise level are swapped in x0-hat from v (Salimans & Ho, appendix D)"""
    if kind != "v_prediction":
        return right.x_0(kind, out, x_t, level)
    signal, noise = levels(level)
    return noise * x_t - signal * out


@mistake(
    "26",
    "x_0",
    fix="x0-hat = (x_t - sqrt(1-ab) eps) / sqrt(ab) (Ho et al. eq. 15)",
    effect="grey blobs: the predicted noise is treated as a picture, and the chain shrinks to 0",
)
def output_taken_for_x_0(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the model output is taken for x0-hat although the model predicts the noise"""
    return out + 0 * x_t if kind == "epsilon" else right.x_0(kind, out, x_t, level)


@mistake(
    "27",
    "x_0",
    fix="use it as x0-hat",
    effect="samples explode, or are black and white where x0-hat is clipped",
)
def x_0_taken_for_noise(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the model output is taken for the noise although the model predicts x_0"""
    return right.x_0("epsilon" if kind == "sample" else kind, out, x_t, level)


@mistake(
    "26-v",
    "x_0",
    fix="x0-hat = sqrt(ab) x_t - sqrt(1-ab) v",
    effect="samples explode",
)
def v_taken_for_noise(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the model output is taken for the noise although the model predicts v"""
    return right.x_0("epsilon" if kind == "v_prediction" else kind, out, x_t, level)


@mistake(
    "28",
    "ddim_eps",
    fix="subtract x_0 from x_t, not the reverse",
    effect="with a model of x_0, DDIM's samples are all alike, blurred to the mean of the data",
    seen_in=("lucidrains/denoising-diffusion-pytorch@37334ae",),
    only="ddim",
)
def derived_noise_with_wrong_sign(
    out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting
) -> Tensor:
    """the noise derived from x0-hat has the wrong sign, should be (x_t - sqrt(ab) x_0) /
    sqrt(1-ab)"""
    eps = right.ddim_eps(out, x_t, x_0, level, setting)
    return -eps if setting.prediction_type == "sample" else eps


@mistake(
    "28-root",
    "ddim_eps",
    fix="(x_t - sqrt(ab) x_0) / sqrt(1-ab)",
    effect="with a model of x_0, DDIM's samples explode",
    only="ddim",
)
def derived_noise_without_root(
    out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting
) -> Tensor:
    """the noise derived from x0-hat is divided by 1-ab, should be by its square root"""
    if setting.prediction_type != "sample":
        return right.ddim_eps(out, x_t, x_0, level, setting)
    return (x_t - level.alpha_bar.sqrt() * x_0) / (1 - level.alpha_bar)


@mistake(
    "42",
    "x_0",
    fix="(x_t - sqrt(1-ab) eps) / sqrt(ab)",
    effect="brighter pictures, and x0-hat far outside the data at high noise",
)
def divided_by_alpha_bar(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat is divided by alpha-bar, should be by sqrt(alpha-bar) (Ho et al. eq. 15)"""
    if kind != "epsilon":
        return right.x_0(kind, out, x_t, level)
    return (x_t - (1 - level.alpha_bar).sqrt() * out) / level.alpha_bar


@mistake(
    "6-x0",
    "x_0",
    fix="(x_t - sqrt(1-ab) eps) / sqrt(ab)",
    effect="noisy pictures: too little noise is taken away at every step (std 0.95 where 0.5 is "
    "right)",
)
def variance_of_the_noise_in_x_0(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat subtracts (1-ab) eps, should be sqrt(1-ab) eps (Ho et al. eq. 15)"""
    if kind != "epsilon":
        return right.x_0(kind, out, x_t, level)
    return (x_t - (1 - level.alpha_bar) * out) / level.alpha_bar.sqrt()


@mistake(
    "42-minus-one",
    "x_0",
    fix="sqrt(1/ab) x_t - sqrt(1/ab - 1) eps",
    effect="x0-hat loses too much noise, most of all where there is little of it: flat pictures",
)
def minus_one_forgotten(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat subtracts sqrt(1/ab) eps, should be sqrt(1/ab - 1) eps (Ho et al. eq. 15)"""
    if kind != "epsilon":
        return right.x_0(kind, out, x_t, level)
    return (x_t - out) / level.alpha_bar.sqrt()


@mistake(
    "47-x0",
    "x_0",
    fix="(x_t - sqrt(1-ab) eps) / sqrt(ab)",
    effect="samples explode",
)
def noise_added_in_x_0(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat adds the noise, should subtract it (Ho et al. eq. 15)"""
    if kind != "epsilon":
        return right.x_0(kind, out, x_t, level)
    return (x_t + (1 - level.alpha_bar).sqrt() * out) / level.alpha_bar.sqrt()


@mistake(
    "42-bracket",
    "x_0",
    fix="divide the whole bracket",
    effect="samples are noise: at high noise hardly any of it is taken away",
)
def noise_outside_the_bracket(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """only x_t is divided by sqrt(ab) in x0-hat, the noise is not (Ho et al. eq. 15)"""
    if kind != "epsilon":
        return right.x_0(kind, out, x_t, level)
    return x_t / level.alpha_bar.sqrt() - (1 - level.alpha_bar).sqrt() * out


@mistake(
    "65",
    "limit",
    fix="clamp x0-hat to the range",
    effect="colours run away in some samples, with a cosine schedule in most of them",
    seen_in=(
        "lucidrains/denoising-diffusion-pytorch#47",
        "openai/improved-diffusion#105",
        "hojonathanho/diffusion#5",
    ),
)
def x_0_not_clipped(x_0: Tensor, setting: Setting) -> Tensor:
    """x0-hat is not clipped although clip_sample is on: at high noise it is far outside the
    data"""
    return right.limit(x_0, replace(setting, clip_sample=False))


@mistake(
    "65-range",
    "limit",
    fix="clamp to the range that is given",
    effect="data with a larger range comes out cut off at 1",
)
def clip_range_ignored(x_0: Tensor, setting: Setting) -> Tensor:
    """x0-hat is clipped to 1 whatever clip_sample_range says"""
    return right.limit(x_0, replace(setting, clip_sample_range=1.0))


@mistake(
    "34-clip",
    "limit",
    fix="clamp to [-range, range]",
    effect="pale pictures without dark parts: all that is below mid grey is lost",
)
def clipped_to_zero_and_one(x_0: Tensor, setting: Setting) -> Tensor:
    """x0-hat is clipped to [0, 1], but the data are in [-1, 1]"""
    if setting.thresholding or not setting.clip_sample:
        return right.limit(x_0, setting)
    return x_0.clamp(0, setting.clip_sample_range)


@mistake(
    "68",
    "limit",
    fix="flatten each image by itself",
    effect="one bright sample dims the others of its batch",
)
def quantile_over_the_batch(x_0: Tensor, setting: Setting) -> Tensor:
    """the thresholding quantile is taken over the batch, should be per image (Saharia et al.,
    section 2.3)"""
    if not setting.thresholding:
        return right.limit(x_0, setting)
    flat = x_0.flatten(-2)
    s = torch.quantile(flat.abs(), setting.dynamic_thresholding_ratio, dim=-1)[..., None, None]
    s = s.clamp(1, max(setting.sample_max_value, 1))
    return x_0.clamp(-s, s) / s


@mistake(
    "68-divide",
    "limit",
    fix="clamp(-s, s) / s",
    effect="x0-hat leaves [-1, 1]: saturated colours, which thresholding is there to prevent",
)
def threshold_without_division(x_0: Tensor, setting: Setting) -> Tensor:
    """dynamic thresholding clips to s but does not divide by s (Saharia et al., section 2.3)"""
    if not setting.thresholding:
        return right.limit(x_0, setting)
    s = torch.quantile(x_0.abs(), setting.dynamic_thresholding_ratio, dim=-1, keepdim=True)
    s = s.clamp(1, max(setting.sample_max_value, 1))
    return x_0.clamp(-s, s)

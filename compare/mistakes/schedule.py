"""Mistakes in betas, in the table of alpha-bars, and in how a step reads it.

Right: beta_t from beta_start to beta_end, linear or linear in the root, or by a cosine (Nichol &
Dhariwal eq. 17); alpha_bar_t = product of 1 - beta_s for s = 0..t (Ho et al., below eq. 3); a step
reads alpha_bar at its t and at the step before it, where 1 stands before the first.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import entry
from compare.oracle import F64, Level, Setting

mistake = partial(entry, stage="schedule")


def linear(setting: Setting, **changes: Any) -> Tensor:
    """Betas of a setting that differs from what was asked, where it asked for `linear`."""
    if setting.beta_schedule != "linear" or setting.trained_betas is not None:
        return right.betas(setting)
    return right.betas(replace(setting, **changes))


def asks_for_cosine(setting: Setting) -> bool:
    """Whether the betas are those of a cosine."""
    return setting.beta_schedule == "squaredcos_cap_v2" and setting.trained_betas is None


def cosine(setting: Setting, **changes: Any) -> Tensor:
    """Betas of another cosine, where a cosine was asked for."""
    if not asks_for_cosine(setting):
        return right.betas(setting)
    return right.cosine_betas(setting.num_train_timesteps, **changes)


def step_of(shift: int, table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """The step at t takes every coefficient of the step `shift` later, held inside the table."""
    last = len(table) - 1
    at = (t + shift).clamp(0, last)
    before = torch.where(at == t, prev, (prev + shift).clamp(-1, last - 1))
    return replace(right.level(table, at, before, setting), t=t, prev=prev)


def level_after_a_spare_beta(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """The first step removes the noise of its own beta alone, where the product holds another."""
    level = right.level(table, t, prev, setting)
    if setting.spare_beta is None or setting.spare_removed:
        return level
    before = torch.where(prev >= 0, level.alpha_bar_prev, 1 - setting.spare_beta)
    return replace(level, alpha_bar_prev=before)


@mistake(
    "1",
    "before",
    also={"level": level_after_a_spare_beta},
    right="compare.oracle:table",
    fix="take the cumulative product of exactly the T factors 1 - beta_t",
    effect="the pictures look right, and the whole chain agrees with itself: only the table shows "
    "it",
    seen_in=(
        "cloneofsimo/minDiffusion mindiffusion/ddpm.py",
        "byrkbrk/conditional-ddpm",
        "TeaPearce/Conditional_Diffusion_MNIST",
    ),
)
def one_factor_too_many(setting: Setting) -> float:
    """alpha-bar has one factor too many: every entry carries an extra 1 - beta_0; alpha-bar_0
    should be 1 - beta_0 and the table T long (Ho et al., below eq. 3)"""
    spare = setting.spare_beta
    return 1 - (float(right.betas(setting)[0]) if spare is None else spare)


@mistake(
    "1-leading-one",
    "table",
    fix="drop the leading 1, or count t from 1 everywhere",
    effect="x_0 gets no noise at t = 0, where 1 - alpha-bar is 0 and a division by it gives NaN",
)
def table_that_starts_at_one(betas: Tensor) -> Tensor:
    """the alpha-bar table starts at 1 and lacks its last entry: every t reads the entry of the
    step before; alpha-bar_0 should be 1 - beta_0"""
    return torch.cat([torch.ones(1, dtype=F64), right.table(betas)[:-1]])


@mistake(
    "2",
    "level",
    fix="index the table with the same t that noised the image",
    effect="the pictures look right: the chain's mean and spread are off by less than 1 %",
    seen_in=("lucidrains/denoising-diffusion-pytorch#81",),
)
def alpha_bar_read_one_early(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """the step reads alpha-bar[t-1] as alpha-bar_t, one entry too early, although the table is
    right"""
    padded = torch.cat([torch.tensor([table[0]], dtype=F64), table])  # at t = 0 too
    level = right.level(padded, t, prev, setting)
    return replace(level, table=table)


@mistake(
    "2-early",
    "level",
    fix="index every table with the t that the model is told",
    effect="the pictures look right: each step is that of slightly less noise than there is",
)
def step_reads_one_early(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """the step at t takes the coefficients of the step at t-1: its tables are read one entry
    too early"""
    return step_of(-1, table, t, prev, setting)


@mistake(
    "2-late",
    "level",
    fix="index every table with the t that the model is told",
    effect="the pictures look right: each step is that of slightly more noise than there is",
)
def step_reads_one_late(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """the step at t takes the coefficients of the step at t+1: its tables are read one entry
    too late"""
    return step_of(1, table, t, prev, setting)


@mistake(
    "3",
    "level",
    fix="prepend 1 to the shifted table (or use 1 if prev < 0)",
    effect="the pictures look right, with noise of size sqrt(beta_0) = 0.01 left in them",
    seen_in=(
        "rohitg00/ai-engineering-from-scratch#43",
        "Stability-AI/stablediffusion#345",
        "lllyasviel/ControlNet#587",
    ),
)
def alpha_bar_before_the_first_step(
    table: Tensor, t: Tensor, prev: Tensor, setting: Setting
) -> Level:
    """alpha-bar before the first step is read as alpha-bar_0; it is 1, so the last step leaves
    noise in the picture"""
    level = right.level(table, t, prev, setting)
    before = torch.where(prev >= 0, level.alpha_bar_prev, table[0])
    return replace(level, alpha_bar_prev=before)


@mistake(
    "4",
    "table",
    fix="alpha_bar = cumprod(1 - beta)",
    effect="almost no noise is ever added, and samples, which start from pure noise, stay noise",
)
def alpha_for_alpha_bar(betas: Tensor) -> Tensor:
    """the table holds alpha_t, not its cumulative product alpha-bar_t (Ho et al., below eq.
    3)"""
    return 1 - betas


@mistake(
    "4-root",
    "table",
    fix="alpha_bar = cumprod(1 - beta), without a root",
    effect="the pictures look right, or a little dull: x_T keeps 8 % of the picture",
)
def root_of_alpha_bar(betas: Tensor) -> Tensor:
    """the table holds sqrt(alpha-bar_t) under the name of alpha-bar_t (Ho et al., below eq.
    3)"""
    return right.table(betas).sqrt()


@mistake(
    "7",
    "betas",
    fix="linspace(beta_start, beta_end, T)",
    effect="the pictures look right: only the betas show it, or a checkpoint trained with the "
    "others",
    seen_in=("guoyww/AnimateDiff#246",),
)
def scaled_linear_for_linear(setting: Setting) -> Tensor:
    """betas are linear in their square root (scaled_linear) where linear was asked"""
    return linear(setting, beta_schedule="scaled_linear")


@mistake(
    "7-inverse",
    "betas",
    fix="linspace(sqrt(beta_start), sqrt(beta_end), T) ** 2",
    effect="the pictures look right: only the betas show it, or a checkpoint trained with the "
    "others",
)
def linear_for_scaled_linear(setting: Setting) -> Tensor:
    """betas are linear where scaled_linear was asked"""
    if setting.beta_schedule != "scaled_linear":
        return right.betas(setting)
    return right.betas(replace(setting, beta_schedule="linear"))


@mistake(
    "8",
    "betas",
    fix="use the beta_end that is given",
    effect="the pictures look right: x_T keeps 5 % of the picture",
)
def another_beta_end(setting: Setting) -> Tensor:
    """beta_end is 0.012, not what was asked for"""
    return linear(setting, beta_end=0.012)


@mistake(
    "8-tenfold",
    "betas",
    fix="use the beta_end that is given",
    effect="darker pictures: x_T keeps 59 % of the picture, so that sampling starts where none "
    "was seen",
)
def beta_end_ten_times_too_small(setting: Setting) -> Tensor:
    """beta_end is 0.002, ten times too small"""
    return linear(setting, beta_end=0.002)


@mistake(
    "10-square",
    "betas",
    fix="square the cosine",
    effect="it trains: alpha-bar is off by up to 0.25, with far less noise in the middle of the "
    "chain",
)
def cosine_without_square(setting: Setting) -> Tensor:
    """the cosine is not squared: f = cos(...), should be cos^2(...) (Nichol & Dhariwal eq.
    17)"""
    return cosine(setting, power=1)


@mistake(
    "10-offset",
    "betas",
    fix="f = cos^2((t/T + s)/(1 + s) pi/2) with s = 0.008",
    effect="the pictures look right: hardly any noise at the first steps, where beta_0 is 17 "
    "times too small",
)
def cosine_without_offset(setting: Setting) -> Tensor:
    """the cosine schedule lacks its offset s = 0.008 (Nichol & Dhariwal eq. 17): beta_0 is 17
    times too small"""
    return cosine(setting, s=0.0)


@mistake(
    "10-linear",
    "betas",
    fix="let the name choose the curve",
    effect="the pictures look right: noise comes faster than by the cosine",
)
def linear_for_cosine(setting: Setting) -> Tensor:
    """betas are linear where the cosine was asked for (Nichol & Dhariwal eq. 17)"""
    if setting.beta_schedule != "squaredcos_cap_v2":
        return right.betas(setting)
    return right.betas(replace(setting, beta_schedule="linear"))


@mistake(
    "10-early",
    "betas",
    fix="beta_t = 1 - f(t+1) / f(t) for t = 0..T-1",
    effect="1 - alpha-bar_0 is 0: the posterior divides by it, and pictures are NaN",
    seen_in=(
        "Project-MONAI/MONAI#8427",
        "Project-MONAI/GenerativeModels#489",
    ),
)
def cosine_one_step_early(setting: Setting) -> Tensor:
    """the cosine schedule is read one step early, so that alpha-bar_0 is 1: with t from 0 it is
    f(t+1) / f(0) (Nichol & Dhariwal eq. 17 counts t from 1)"""
    if not asks_for_cosine(setting):
        return right.betas(setting)
    return torch.cat([torch.zeros(1, dtype=F64), right.betas(setting)[:-1]])


@mistake(
    "10-start",
    "betas",
    fix="alpha_bar_t = f(t+1) / f(0) for t = 0..T-1",
    effect="the pictures look right: each t has the noise of the step before",
)
def cosine_from_the_start(setting: Setting) -> Tensor:
    """the cosine schedule is read one step early and not divided by f(0): alpha-bar_t is f(t),
    should be f(t+1) / f(0) with t from 0 (Nichol & Dhariwal eq. 17)"""
    if not asks_for_cosine(setting):
        return right.betas(setting)
    first = 1 - math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return torch.cat([torch.tensor([first], dtype=F64), right.betas(setting)[:-1]])


@mistake(
    "10-cap",
    "betas",
    fix="min(beta, 0.999)",
    effect="the pictures look right: x_T keeps 6 % of the picture, the steep end of the cosine is "
    "cut off",
)
def cosine_with_a_low_cap(setting: Setting) -> Tensor:
    """cosine betas are capped at 0.02, should be at 0.999 (Nichol & Dhariwal, below eq. 17)"""
    return cosine(setting, cap=0.02)


@mistake(
    "10-ends",
    "betas",
    fix="min(beta, 0.999), with no lower bound",
    effect="the pictures look right: x_T keeps 6 % of the picture, the steep end of the cosine is "
    "cut off",
    seen_in=("filipbasara0/simple-diffusion simple_diffusion/scheduler/ddim.py",),
)
def cosine_clipped_to_the_linear_ends(setting: Setting) -> Tensor:
    """cosine betas are clipped to beta_start and beta_end, the ends of linear ones; they are capped
    at 0.999 alone (Nichol & Dhariwal, below eq. 17)"""
    betas = cosine(setting)
    if not asks_for_cosine(setting):
        return betas
    return betas.clamp(setting.beta_start, setting.beta_end)


@mistake(
    "11",
    "betas",
    fix="min(beta, 0.999)",
    effect="infinities or NaN in the first sampling step, where x_t is divided by "
    "sqrt(alpha-bar_T) = 0",
)
def cosine_without_cap(setting: Setting) -> Tensor:
    """cosine betas are not capped at 0.999: alpha-bar_T is 0 and 1/sqrt of it infinite"""
    return cosine(setting, cap=math.inf)


@mistake(
    "13-float16",
    "table",
    fix="take it in float64 or float32 and cast the result",
    effect="no noise at the first 8 steps, where 1 - alpha-bar is 0 and a division by it gives NaN",
    seen_in=(
        "huggingface/diffusers#3005",
        "AUTOMATIC1111/stable-diffusion-webui#14071",
    ),
)
def product_in_float16(betas: Tensor) -> Tensor:
    """the cumulative product is taken in float16: 1 - alpha-bar is 0 at small t"""
    return torch.cumprod((1 - betas).half(), dim=0).to(F64)


@mistake(
    "13-bfloat16",
    "table",
    fix="take it in float64 or float32 and cast the result",
    effect="no noise at the first 94 steps, where 1 - alpha-bar is 0 and a division by it gives "
    "NaN",
)
def product_in_bfloat16(betas: Tensor) -> Tensor:
    """the cumulative product is taken in bfloat16: 1 - alpha-bar is 0 at small t"""
    return torch.cumprod((1 - betas).bfloat16(), dim=0).to(F64)

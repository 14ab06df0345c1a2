"""Mistakes in the mean of a step.

Right: sqrt(ab_prev) beta / (1-ab) x0-hat + sqrt(alpha) (1-ab_prev) / (1-ab) x_t (Ho et al. eq. 7),
which is (x_t - beta / sqrt(1-ab) eps) / sqrt(alpha) (eq. 11); DDIM: sqrt(ab_prev) x0-hat +
sqrt(1 - ab_prev - sigma^2) eps (Song et al. eq. 12); DPM-Solver++(2M): as DDIM, with x0-hat +
(x0-hat - that of the step before) / (2r), r = h before / h (Lu et al. 2022, algorithm 2).
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import answer, entry
from compare.mistakes.variance import beta_of_the_full_chain, full_chain
from compare.oracle import Level, Setting
from compare.oracle.samplers import DPMSolver

mistake = partial(entry, stage="mean")


def parts(level: Level) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha_bar, alpha_bar_prev, alpha and beta of a step."""
    ab, ab_prev = level.alpha_bar, level.alpha_bar_prev
    alpha = ab / ab_prev
    return ab, ab_prev, alpha, 1 - alpha


def posterior(
    x_0: Tensor, x_t: Tensor, ab: Tensor, ab_prev: Tensor, alpha: Tensor, beta: Tensor
) -> Tensor:
    """The formula of Ho et al. eq. 7, of whatever it is given."""
    c_0 = ab_prev.sqrt() * beta / (1 - ab)
    return c_0 * x_0 + alpha.sqrt() * (1 - ab_prev) / (1 - ab) * x_t


def untouched(x_0: Tensor, setting: Setting) -> Tensor:
    """x0-hat as it is, whatever its range."""
    return x_0


@mistake(
    "64",
    "finish",
    fix="clamp x0-hat before the mean, leave x_{t-1} alone",
    effect="too few values near the ends of the range in between: with two modes, the wrong share "
    "of each",
    seen_in=("dome272/Diffusion-Models-pytorch#23",),
    also={"limit": untouched},
    right="compare.oracle:limit",
)
def x_prev_clipped_for_x_0(x_prev: Tensor, setting: Setting) -> Tensor:
    """x_{t-1} is clipped where x0-hat should be: the chain is bent at every step"""
    return right.limit(x_prev, setting)


@mistake(
    "64-too",
    "finish",
    fix="leave x_{t-1} alone",
    effect="the pictures look right; the chain is bent wherever noise leaves the range of the data",
)
def x_prev_clipped_too(x_prev: Tensor, setting: Setting) -> Tensor:
    """x_{t-1} is clipped as well as x0-hat"""
    return right.limit(x_prev, setting)


@mistake(
    "37",
    "mean",
    fix="sqrt(ab_prev) beta / (1-ab) goes with x0-hat",
    effect="too smooth: the chain ends with a fifth of the contrast",
)
def weights_exchanged(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the two coefficients of the posterior mean are swapped (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = ab_prev.sqrt() * beta / (1 - ab), alpha.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_t * x_0 + c_0 * x_t


@mistake(
    "38",
    "mean",
    fix="sqrt(ab_prev) beta / (1-ab)",
    effect="darker pictures of less contrast",
)
def x_0_weight_without_root(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x0-hat has ab_prev, should be sqrt(ab_prev) (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = ab_prev * beta / (1 - ab), alpha.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "39",
    "mean",
    fix="sqrt(alpha) (1-ab_prev) / (1-ab)",
    effect="darker pictures of less contrast",
)
def x_t_weight_without_root(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x_t has alpha, should be sqrt(alpha) (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = ab_prev.sqrt() * beta / (1 - ab), alpha * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "40",
    "mean",
    fix="sqrt(ab_prev) beta / (1-ab)",
    effect="with all steps the pictures look right; with 50 they are a little darker",
)
def x_0_weight_of_this_step(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x0-hat has sqrt(ab), should be sqrt(ab_prev) (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = ab.sqrt() * beta / (1 - ab), alpha.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "41",
    "mean",
    fix="sqrt(alpha) (1-ab_prev) / (1-ab)",
    effect="samples explode: x_t hardly shrinks, and x0-hat is added to it at every step",
)
def x_t_weight_of_this_step(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x_t has 1-ab, should be 1-ab_prev (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = ab_prev.sqrt() * beta / (1 - ab), alpha.sqrt()
    return c_0 * x_0 + c_t * x_t


@mistake(
    "40-unshifted",
    "mean",
    fix="alphas_cumprod_prev is 1 and then alphas_cumprod without its last entry",
    effect="samples explode: x_t hardly shrinks, and x0-hat is added to it at every step",
    seen_in=("lucidrains/denoising-diffusion-pytorch#18",),
)
def table_not_shifted(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """both weights of the posterior mean take alpha-bar_t for that of the step before: the
    table is not shifted (Ho et al. eq. 7)"""
    ab, _, alpha, beta = parts(level)
    c_0, c_t = ab.sqrt() * beta / (1 - ab), alpha.sqrt()
    return c_0 * x_0 + c_t * x_t


@mistake(
    "3-wraps",
    "level",
    fix="alpha_bar_prev = 1 if prev < 0 else alpha_bar[prev]",
    effect="the finished picture is noise: its last step is that of pure noise",
)
def table_read_at_minus_one(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """at t = 0 the table is read at -1, which is its last entry, alpha-bar_{T-1}; before the
    first step stands 1 (Ho et al. eq. 7)"""
    level = right.level(table, t, prev, setting)
    return replace(level, alpha_bar_prev=torch.where(prev >= 0, level.alpha_bar_prev, table[-1]))


@mistake(
    "3-rolled",
    "mean",
    fix="put 1 in front and drop the last entry: cat([1, alpha_bar[:-1]])",
    effect="the finished picture is black and white: its last step multiplies x_1 by 1 / beta_0",
)
def table_rolled(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """at t = 0 the weights of the posterior mean take the last entry of the table,
    alpha-bar_{T-1}, for the one before it, which is 1 (Ho et al. eq. 7): the table was
    rolled"""
    ab, ab_prev, alpha, beta = parts(level)
    last = level.read(torch.full_like(level.t, -1))
    before = torch.where(level.t == 0, last, ab_prev)
    return posterior(x_0, x_t, ab, before, alpha, beta)


@mistake(
    "3-weights",
    "mean",
    fix="alphas_cumprod_prev starts with 1",
    effect="the finished picture has twice the contrast: its last step adds x_1 to x0-hat",
)
def weights_without_the_leading_one(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """at t = 0 the weights of the posterior mean take alpha-bar_0 for the one before it, which
    is 1 (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    before = torch.where(level.t == 0, ab, ab_prev)
    return posterior(x_0, x_t, ab, before, alpha, beta)


@mistake(
    "37-beta",
    "mean",
    fix="sqrt(ab_prev) beta / (1-ab)",
    effect="samples explode: x0-hat is added ten to a hundred times too strongly",
)
def root_of_beta_in_the_x_0_weight(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x0-hat has sqrt(beta), should be beta (Ho et al. eq. 7)"""
    ab, ab_prev, alpha, beta = parts(level)
    c_0, c_t = (ab_prev * beta).sqrt() / (1 - ab), alpha.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "41-root",
    "mean",
    fix="sqrt(alpha) (1-ab_prev) / (1-ab)",
    effect="dark, flat pictures: x_t is forgotten wherever there is much noise",
)
def x_t_weight_of_alpha_bar_prev(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x_t has sqrt(ab_prev), should be sqrt(alpha) (Ho et al. eq. 7)"""
    ab, ab_prev, _, beta = parts(level)
    c_0, c_t = ab_prev.sqrt() * beta / (1 - ab), ab_prev.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "39-alpha-bar",
    "mean",
    fix="sqrt(alpha) (1-ab_prev) / (1-ab)",
    effect="dark, flat pictures: x_t is forgotten wherever there is much noise",
)
def x_t_weight_of_alpha_bar(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the coefficient of x_t has sqrt(ab), should be sqrt(alpha) (Ho et al. eq. 7)"""
    ab, ab_prev, _, beta = parts(level)
    c_0, c_t = ab_prev.sqrt() * beta / (1 - ab), ab.sqrt() * (1 - ab_prev) / (1 - ab)
    return c_0 * x_0 + c_t * x_t


@mistake(
    "43",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="over-smooth: a fifth of the contrast is left",
    seen_in=("junyeong-nero/DDPM reverse_decoder.py",),
    twin="42-minus-one",  # which needs code with an x0-hat of its own; if it is clipped, they part
)
def noise_over_variance(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the noise is scaled by beta / (1-ab), should be beta / sqrt(1-ab) (Ho et al. eq. 11)"""
    ab, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - beta / (1 - ab) * eps) / alpha.sqrt()


@mistake(
    "44",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="over-smooth: a tenth of the contrast is left",
)
def root_of_beta_over_noise_level(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the noise is scaled by sqrt(beta) / sqrt(1-ab), should be beta / sqrt(1-ab) (Ho et al.
    eq. 11)"""
    ab, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - beta.sqrt() / (1 - ab).sqrt() * eps) / alpha.sqrt()


@mistake(
    "44-bare",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="over-smooth: a third of the contrast is left",
)
def root_of_beta_alone(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the noise is scaled by sqrt(beta), should be beta / sqrt(1-ab) (Ho et al. eq. 11)"""
    _, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - beta.sqrt() * eps) / alpha.sqrt()


@mistake(
    "45",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="brighter pictures of twice the contrast",
)
def bracket_over_alpha(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the bracket is divided by alpha, should be by sqrt(alpha) (Ho et al. eq. 11)"""
    ab, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - beta / (1 - ab).sqrt() * eps) / alpha


@mistake(
    "45-none",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="darker pictures of less contrast",
)
def bracket_undivided(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the bracket is not divided by sqrt(alpha) (Ho et al. eq. 11)"""
    ab, _, _, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return x_t - beta / (1 - ab).sqrt() * eps


@mistake(
    "46",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="the pictures look right: the spread is off by less than 1 %",
)
def bracket_split(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """only x_t is divided by sqrt(alpha), should be the whole bracket (Ho et al. eq. 11)"""
    ab, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return x_t / alpha.sqrt() - beta / (1 - ab).sqrt() * eps


@mistake(
    "47",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="samples explode",
)
def noise_added(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the noise is added, should be subtracted (Ho et al. eq. 11)"""
    ab, _, alpha, beta = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t + beta / (1 - ab).sqrt() * eps) / alpha.sqrt()


@mistake(
    "48",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="flat pictures: all noise goes in every step, and the contrast with it",
)
def whole_noise_subtracted(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """the whole predicted noise is subtracted, should be beta / sqrt(1-ab) of it (Ho et al. eq.
    11)"""
    _, _, alpha, _ = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - eps) / alpha.sqrt()


@mistake(
    "48-level",
    "mean",
    fix="(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
    effect="flat pictures: each step jumps to x0-hat and forgets where it was",
)
def noise_level_subtracted(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """sqrt(1-ab) of the noise is subtracted, should be beta / sqrt(1-ab) of it (Ho et al. eq.
    11)"""
    ab, _, alpha, _ = parts(level)
    eps = right.eps_from_x_0(x_t, x_0, level)
    return (x_t - (1 - ab).sqrt() * eps) / alpha.sqrt()


@mistake(
    "71-mean",
    "mean",
    fix="beta = 1 - ab / ab_prev",
    effect="right with all steps; with 50, flat grey",
    also={"std": beta_of_the_full_chain},
)
def strided_mean_with_beta_of_the_full_chain(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """in a strided chain the weight of x0-hat, and the variance, take beta_t of the full chain,
    should take 1 - ab/ab_prev"""
    ab, ab_prev, alpha, _ = parts(level)
    beta = 1 - ab / full_chain(level).alpha_bar_prev
    return posterior(x_0, x_t, ab, ab_prev, alpha, beta)


@mistake(
    "71-alpha",
    "mean",
    fix="alpha = ab / ab_prev, beta = 1 - alpha",
    effect="right with all steps; with 50, flat grey",
    also={"std": beta_of_the_full_chain},
)
def strided_mean_with_alpha_of_the_full_chain(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """in a strided chain alpha_t and beta_t are those of the full chain, should be ab/ab_prev
    and 1 - ab/ab_prev"""
    ab, ab_prev, _, _ = parts(level)
    alpha = ab / full_chain(level).alpha_bar_prev
    return posterior(x_0, x_t, ab, ab_prev, alpha, 1 - alpha)


@mistake(
    "67",
    "rederived",
    fix="eps = (x_t - sqrt(ab) x0-hat) / sqrt(1-ab) after clipping",
    effect="DDIM with eta = 1 is not DDPM wherever x0-hat is clipped: more saturated pictures",
    seen_in=(
        "lucidrains/denoising-diffusion-pytorch#84",
        "huggingface/diffusers#1069",
    ),
    only="ddim",
    made=answer,
)
def noise_not_derived_again() -> None:
    """with use_clipped_model_output the noise is not derived again from the clipped x0-hat"""
    return None  # noqa: RET501 (that is what stands there)


@mistake(
    "82",
    "ddim_mean",
    fix="sqrt(1 - ab_prev - sigma^2) eps",
    effect="right with eta = 0; with eta = 1 noisy pictures (std 1.5 where 0.5 is right)",
    only="ddim",
)
def direction_without_sigma(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    """DDIM's direction lacks - sigma^2, should be sqrt(1 - ab_prev - sigma^2) (Song et al. eq.
    12)"""
    return right.ddim_mean(x_0, eps, level, 0 * sigma)


@mistake(
    "82-square",
    "ddim_mean",
    fix="sqrt(1 - ab_prev - sigma^2) eps",
    effect="right with eta = 0; with eta = 1 too little noise is put back, and pictures are too "
    "smooth",
    only="ddim",
)
def direction_minus_sigma(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    """DDIM's direction subtracts sigma, should subtract sigma^2 (Song et al. eq. 12)"""
    direction = (1 - level.alpha_bar_prev - sigma).clamp(min=0).sqrt()
    return level.alpha_bar_prev.sqrt() * x_0 + direction * eps


@mistake(
    "83",
    "ddim_mean",
    fix="sqrt(1 - ab_prev - sigma^2) eps",
    effect="with eta = 0 every sample is the same flat picture",
    only="ddim",
)
def direction_is_sigma(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    """DDIM's direction is scaled by sigma, should be by sqrt(1 - ab_prev - sigma^2) (Song et
    al. eq. 12)"""
    return level.alpha_bar_prev.sqrt() * x_0 + sigma * eps


@mistake(
    "84",
    "ddim_eps",
    fix="derive eps from x0-hat first",
    effect="right with a model of the noise; with one of x_0 or v, all contrast is lost",
    seen_in=("huggingface/diffusers#2094",),
    only="ddim",
)
def direction_is_the_output(
    out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting
) -> Tensor:
    """DDIM's direction uses the model output although the model does not predict the noise"""
    return out


SOLVER = DPMSolver.name
CORRECTED = "x0-hat + (x0-hat - that of the step before) / (2r)"
OF_SOLVER = "sigma_prev/sigma_t x_t - sqrt(ab_prev) (exp(-h) - 1) x0-hat"


@mistake(
    "82-solver",
    "extrapolated",
    fix="r = h_before / h, with h = lambda_prev - lambda_t of this step",
    effect="steps of one length look right; where they grow or shrink, x0-hat is corrected by too "
    "little or too much: with few steps the error of DDIM comes back",
    only=SOLVER,
)
def ratio_of_steps_inverted(x_0: Tensor, before: Tensor, h: Tensor, h_before: Tensor) -> Tensor:
    """r is this step's h by that of the step before, should be that of the step before by this
    one's (Lu et al. 2022, algorithm 2)"""
    return x_0 + h_before / (2 * h) * (x_0 - before)


@mistake(
    "82-solver-r",
    "extrapolated",
    fix=CORRECTED,
    effect="twice the correction: pictures too sharp with few steps",
    only=SOLVER,
)
def correction_without_half(x_0: Tensor, before: Tensor, h: Tensor, h_before: Tensor) -> Tensor:
    """the correction of x0-hat is divided by r, should be by 2r (Lu et al. 2022, algorithm 2)"""
    return x_0 + h / h_before * (x_0 - before)


@mistake(
    "82-solver-neg",
    "extrapolated",
    fix=CORRECTED,
    effect="worse than DDIM with as many steps: twice its error",
    only=SOLVER,
)
def correction_backwards(x_0: Tensor, before: Tensor, h: Tensor, h_before: Tensor) -> Tensor:
    """x0-hat is moved towards that of the step before, should be moved away from it (Lu et al.
    2022, algorithm 2)"""
    return x_0 - h / (2 * h_before) * (x_0 - before)


def while_finite(wrong: Tensor, x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """A wrong mean where h is finite: the step to ab_prev = 1 is written apart, and is x0-hat."""
    return torch.where(level.alpha_bar_prev < 1, wrong, right.solver_mean(x_0, x_t, level))


@mistake(
    "83-solver",
    "solver_mean",
    fix=OF_SOLVER,
    effect="samples explode: x_t grows where it should shrink",
    only=SOLVER,
)
def x_t_scaled_by_its_signal(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x_t is multiplied by sqrt(ab_prev/ab), should be by sigma_prev/sigma_t: that is the form for
    the noise, DPM-Solver's, not for x0-hat (Lu et al. 2022, algorithm 2)"""
    grows = (level.alpha_bar_prev / level.alpha_bar).sqrt()
    return while_finite(right.solver_mean(x_0, 0 * x_t, level) + grows * x_t, x_0, x_t, level)


@mistake(
    "83-solver-ab",
    "solver_mean",
    fix=OF_SOLVER,
    effect="darker pictures of less contrast, with few steps more so",
    only=SOLVER,
)
def x_0_scaled_by_this_signal(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat is multiplied by the signal of this step, should be by that of the one to come,
    sqrt(ab_prev) (Lu et al. 2022, algorithm 2)"""
    of_this = (level.alpha_bar / level.alpha_bar_prev).sqrt()
    return while_finite(right.solver_mean(of_this * x_0, x_t, level), x_0, x_t, level)


@mistake(
    "83-solver-snr",
    "solver_mean",
    fix="lambda = log(sqrt(ab) / sqrt(1-ab)), half the logarithm of the SNR",
    effect="x0-hat weighs nearly twice as much as it should: values far outside the range",
    only=SOLVER,
)
def lambda_without_half(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """lambda is log(ab / (1-ab)), should be half of it, log(sqrt(ab) / sqrt(1-ab)) (Lu et al. 2022,
    section 2)"""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    shrinks = ((1 - prev) / (1 - ab)).sqrt()
    left = ab * (1 - prev) / (prev * (1 - ab))  # exp(-h), squared
    return shrinks * x_t + prev.sqrt() * (1 - left) * x_0

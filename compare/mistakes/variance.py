"""Mistakes in the noise of a step: its size, its law, and when there is any.

Right: sigma z with sigma^2 = beta or beta-tilde = (1-ab_prev)/(1-ab) beta, z ~ N(0, 1) fresh, none
at the last step (Ho et al. eq. 7, section 3.2, algorithm 2).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import Mistake, entry
from compare.oracle import F64, LEARNED, Level

mistake = partial(entry, stage="variance")
of_learned = partial(mistake, only="learned_range")
BETWEEN = ("learned_range", "learned_unit")  # of `LEARNED`, those with a v between two ends
OF_LEARNED = "sigma = exp(0.5 (v log beta + (1 - v) log beta-tilde)) (Nichol & Dhariwal eq. 15)"


def full_chain(level: Level) -> Level:
    """The level of t in the full chain, whatever the stride."""
    before = torch.where(level.t > 0, level.read((level.t - 1).clamp(min=0)), torch.ones(()))
    return replace(level, alpha_bar_prev=before.to(F64))


def beta_of_the_full_chain(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """A standard deviation with beta of the full chain, where there is a stride too."""
    beta = 1 - level.alpha_bar / full_chain(level).alpha_bar_prev
    if kind in LEARNED:
        small = (1 - level.alpha_bar_prev) / (1 - level.alpha_bar) * beta
        return (0.5 * right.log_variance(kind, beta, small, out)).exp()
    if kind.startswith("fixed_small"):
        return ((1 - level.alpha_bar_prev) / (1 - level.alpha_bar) * beta).clamp(min=0).sqrt()
    return beta.sqrt()


def ends(level: Level) -> tuple[Tensor, Tensor]:
    """beta and beta-tilde of a step."""
    beta = 1 - level.alpha_bar / level.alpha_bar_prev
    return beta, (1 - level.alpha_bar_prev) / (1 - level.alpha_bar) * beta


def v_of(kind: str, level: Level, out: Tensor | None) -> Tensor:
    """What the model says of the variance, from 0 for beta-tilde to 1 for beta."""
    said = torch.full_like(level.alpha_bar, LEARNED[kind]) if out is None else out
    return (said + 1) / 2 if kind == "learned_range" else said


def only_multiplied_by_0(level: Level) -> Tensor:
    """A mask behind which NaN stays NaN: the size is 0 at the last step, and noise is added."""
    return torch.ones_like(level.prev, dtype=torch.bool)


def clipped_below(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """The log-variance of the first step, which is log 0, replaced by that of the second."""
    size = right.std(kind, level, out)
    if kind in LEARNED or level.table.shape[-1] < 2:
        return size
    zero = torch.zeros_like(level.t)
    second = replace(level, alpha_bar=level.read(zero + 1), alpha_bar_prev=level.read(zero))
    return torch.where(level.prev < 0, right.std(kind, second), size)


@mistake(
    "49",
    "std",
    fix="sigma = sqrt(variance), or exp(0.5 * log-variance)",
    effect="over-smooth: 6 % of the contrast is left",
    seen_in=("Y-debug-sys/Diffusion-TS#135",),
)
def root_forgotten(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the standard deviation is the variance itself (also: exp(log-variance), mistake 50): its
    square root is missing"""
    size = right.std(kind, level, out)
    return size if kind in LEARNED else size**2


@mistake(
    "50-unlogged",
    "std",
    fix="sigma = exp(0.5 * log-variance), or sqrt(variance)",
    effect="noise of size 1 is added at every step: samples are noise",
)
def variance_taken_for_its_log(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the variance is taken for its logarithm: exp(variance / 2) is near 1"""
    size = right.std(kind, level, out)
    return size if kind in LEARNED else (0.5 * size.square()).exp()


@mistake(
    "49-beta",
    "std",
    fix="sqrt((1-ab_prev)/(1-ab)) sqrt(beta)",
    effect="over-smooth, as with the variance itself",
)
def second_root_forgotten(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """in sqrt((1-ab_prev)/(1-ab)) sqrt(beta) the second root is missing (Ho et al. eq. 7; Song
    et al. eq. 16)"""
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    beta = 1 - level.alpha_bar / level.alpha_bar_prev
    return ((1 - level.alpha_bar_prev) / (1 - level.alpha_bar)).sqrt() * beta


@mistake(
    "51",
    "std",
    fix="sigma = exp(0.5 * log-variance)",
    effect="NaN from the first step on",
    seen_in=("huggingface/diffusers#14569",),
)
def root_of_a_log_variance(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the square root of a log-variance is taken: NaN"""
    size = right.std(kind, level, out)
    return size.square().log().sqrt() if kind.endswith("_log") else size


@mistake(
    "52",
    "std",
    fix="exp(v log beta + (1-v) log beta-tilde)",
    effect="the pictures look right; the learned sizes are too large between their two ends",
    seen_in=("huggingface/diffusers#2090",),
    only="learned_range",
)
def interpolated_without_logs(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """learned_range interpolates the variances, should interpolate their logarithms (Nichol &
    Dhariwal eq. 15)"""
    if kind not in BETWEEN:
        return right.std(kind, level, out)
    beta, small = ends(level)
    v = v_of(kind, level, out)
    return (v * beta + (1 - v) * small).sqrt()


@of_learned(
    "49-learned",
    "std",
    fix="sigma = exp(0.5 * log-variance)",
    effect="over-smooth, as with the variance itself",
    formula=OF_LEARNED,
)
def half_of_the_learned_log_forgotten(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """with a learned variance sigma is exp(log-variance), which is the variance: the half in
    exp(0.5 log-variance) is missing"""
    size = right.std(kind, level, out)
    return size**2 if kind in LEARNED else size


@of_learned(
    "51-learned",
    "std",
    fix="sigma = exp(0.5 * the second half), as that is a log-variance",
    effect="NaN wherever the second half is negative, as half of its values are at the start",
    formula="sigma = exp(0.5 s) of a model that says s = log sigma^2",
    seen_in=("huggingface/diffusers src/diffusers/schedulers/scheduling_ddpm.py",),
)
def root_of_a_learned_log_variance(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """with variance_type="learned" the square root of the model's second half is taken, which may
    be negative: it is the logarithm of the variance"""
    size = right.std(kind, level, out)
    if kind != "learned":
        return size
    return (2 * size.log()).sqrt()


@of_learned(
    "52-exchanged",
    "std",
    fix="exp(v log beta + (1-v) log beta-tilde)",
    effect="the pictures look right: the two ends differ at small t alone",
    right="compare.oracle:log_variance",
    formula=OF_LEARNED,
)
def learned_ends_exchanged(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """beta and beta-tilde are exchanged in a learned variance: v = 1 should give beta (Nichol &
    Dhariwal eq. 15)"""
    if kind not in BETWEEN:
        return right.std(kind, level, out)
    v, (beta, small) = v_of(kind, level, out), ends(level)
    return (0.5 * (v * small.clamp(min=1e-20).log() + (1 - v) * beta.log())).exp()


@of_learned(
    "52-unmapped",
    "std",
    fix="v = (out + 1) / 2",
    effect="a network trained in [-1, 1] gives sizes far below beta-tilde where it says -1",
    right="compare.oracle:log_variance",
    formula="v = (out + 1) / 2, as in Nichol & Dhariwal's code, where variance_type says so",
)
def range_of_v_not_mapped(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """variance_type="learned_range" takes the model's second half for v itself: it goes from -1
    to 1, and v = (out + 1) / 2"""
    return right.std("learned_unit" if kind == "learned_range" else kind, level, out)


@of_learned(
    "52-unclipped",
    "std",
    fix="log beta-tilde with beta-tilde clipped, as it is 0 at t = 0",
    effect="NaN in the last step",
    right="compare.oracle:log_variance",
    formula="log max(beta-tilde, that of the second step), and no noise at the last step",
    also={"noisy": only_multiplied_by_0},
)
def log_of_no_variance(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the logarithm of beta-tilde is taken at t = 0, where it is 0: 0 times minus infinity is NaN,
    also behind the mask of the last step"""
    last = level.prev < 0
    if kind not in BETWEEN:
        size = right.std(kind, level, out)
        return torch.where(last, torch.zeros_like(size), size)
    v, (beta, small) = v_of(kind, level, out), ends(level)
    return (0.5 * (v * beta.log() + (1 - v) * small.log())).exp()


@of_learned(
    "52-halves",
    "halves",
    stage="mean",
    fix="out, v = model_output.split(c, dim=1): the first c channels are the output",
    effect="samples are noise: what the network says of the variance is taken for the noise",
    formula="the first half is the output, the second v (Nichol & Dhariwal's code)",
)
def halves_of_the_output_exchanged(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """the mean is made of the second half of twice the channels, and the variance of the first:
    the output comes first"""
    return second, first


@mistake(
    "53",
    "std",
    fix="sigma = sqrt(variance)",
    effect="noisy pictures: four times the spread of the data",
)
def root_taken_twice(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the square root is taken twice"""
    size = right.std(kind, level, out)
    return size if kind in LEARNED else size.sqrt()


@mistake(
    "54",
    "std",
    fix="beta_t, or (1-ab_prev)/(1-ab) beta_t",
    effect="samples are noise: each step adds as much as the whole chain holds",
    seen_in=("jsboige/CoursIA#16158",),
)
def variance_of_all_the_noise(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the variance is 1-ab, should be beta or beta-tilde (Ho et al., section 3.2)"""
    size = right.std(kind, level, out)
    return size if kind in LEARNED else (1 - level.alpha_bar).sqrt() + 0 * size


@mistake(
    "54-previous",
    "std",
    fix="beta_t, or (1-ab_prev)/(1-ab) beta_t",
    effect="samples are noise, but for the last step",
)
def variance_of_all_the_noise_before(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the variance is 1-ab_prev, should be beta or beta-tilde (Ho et al., section 3.2)"""
    size = right.std(kind, level, out)
    return size if kind in LEARNED else (1 - level.alpha_bar_prev).sqrt() + 0 * size


@mistake(
    "55",
    "noisy",
    fix="x_prev = mean + sigma * z",
    effect="all samples are alike, blurred to the mean of the data",
    seen_in=("divamgupta/stable-diffusion-tensorflow#21",),
)
def no_noise_at_all(level: Level) -> Tensor:
    """no noise is added at any step: the pictures collapse to the mean"""
    return torch.zeros_like(level.prev, dtype=torch.bool)


@mistake(
    "56",
    "noisy",
    fix="z = 0 where prev < 0",
    effect="faint grain, of std 0.01 with fixed_large; with ten trailing steps it is of std 0.3",
    seen_in=(
        "labmlai/annotated_deep_learning_paper_implementations",
        "IDEALLab/EngiOpt#66",
    ),
)
def noise_at_the_last_step(level: Level) -> Tensor:
    """noise is added at the last step, where no previous step exists (Ho et al. algorithm 2,
    line 3)"""
    return torch.ones_like(level.prev, dtype=torch.bool)


@mistake(
    "56-clipped",
    "noisy",
    fix="z = 0 where prev < 0",
    effect="faint grain on otherwise good pictures",
    also={"std": clipped_below},
)
def clipped_noise_at_the_last_step(level: Level) -> Tensor:
    """noise is added at the last step, of the size that clipping the log-variance gives it
    there (Ho et al. algorithm 2, line 3)"""
    return torch.ones_like(level.prev, dtype=torch.bool)


@mistake(
    "56-inverted",
    "noisy",
    fix="z = 0 where prev < 0",
    effect="all samples are alike, blurred to the mean of the data, with faint grain",
    also={"std": clipped_below},
)
def mask_upside_down(level: Level) -> Tensor:
    """the mask of the last step is upside down: noise is added there and nowhere else (Ho et
    al. algorithm 2, line 3)"""
    return level.prev < 0


@mistake(
    "57",
    "noisy",
    fix="add noise while t > 0",
    effect="the pictures look right: only a step at t = 1 shows it",
)
def no_noise_at_t_1(level: Level) -> Tensor:
    """no noise is added at t = 1, where a previous step still exists (Ho et al. algorithm 2,
    line 3, counts from 1)"""
    return level.t > 1


@mistake(
    "57-mask",
    "noisy",
    fix="z = 0 where prev < 0, and nowhere else",
    effect="faint grain on otherwise good pictures",
    also={"std": clipped_below},
)
def mask_one_step_off(level: Level) -> Tensor:
    """the mask of the last step is one step off: no noise at t = 1, but at t = 0, where no
    previous step exists (Ho et al. algorithm 2, line 3, counts from 1)"""
    return level.t != 1


@mistake(
    "58",
    "std",
    fix="fixed_small is beta-tilde, fixed_large is beta",
    effect="with all steps 1 % more or less contrast; with 50 steps 16 %",
    seen_in=("zoubohao/DenoisingDiffusionProbabilityModel-ddpm-#18",),
)
def large_and_small_exchanged(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """beta and beta-tilde are exchanged: variance_type says the other"""
    swap = {"fixed_small": "fixed_large", "fixed_large": "fixed_small"}
    return right.std(swap.get(kind.removesuffix("_log"), kind), level, out)


@mistake(
    "58-large",
    "std",
    fix="fixed_small is beta-tilde = (1-ab_prev)/(1-ab) beta",
    effect="with all steps 1 % more contrast than fixed_small; with 50 steps 16 %",
    seen_in=("jhbastek/PhysicsInformedDiffusionModels#4",),
)
def always_large(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the variance is beta whatever variance_type says"""
    return right.std(kind if kind in LEARNED else "fixed_large", level, out)


@mistake(
    "58-small",
    "std",
    fix="fixed_large is beta",
    effect="with all steps 1 % less contrast than fixed_large; with 50 steps 14 %",
)
def always_small(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the variance is beta-tilde whatever variance_type says"""
    return right.std(kind if kind in LEARNED else "fixed_small", level, out)


@mistake(
    "59",
    "std",
    fix="(1-ab_prev)/(1-ab) beta",
    effect="with all steps the pictures look right; with 50, noisy pictures of twice the contrast",
)
def ratio_upside_down(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the ratio in beta-tilde is upside down, should be (1-ab_prev)/(1-ab) (Ho et al. eq. 7)"""
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    return ((1 - ab) / (1 - prev).clamp(min=1e-9) * (1 - ab / prev)).sqrt()


@mistake(
    "59-root",
    "std",
    fix="sqrt((1-ab_prev)/(1-ab) beta)",
    effect="with all steps the pictures look right; with 50, too smooth",
)
def ratio_outside_the_root(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """the ratio in beta-tilde is outside the square root, should be inside (Ho et al. eq. 7)"""
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    return (1 - prev) / (1 - ab) * (1 - ab / prev).sqrt()


@mistake(
    "60",
    "noise_of",
    fix="z = randn_like(x)",
    effect="samples explode: each step adds back some of what it takes away",
    seen_in=("IDEALLab/EngiOpt#66",),
)
def predicted_noise_for_fresh(z: Tensor, out: Tensor) -> Tensor:
    """the predicted noise takes the place of a fresh z"""
    return out


@mistake(
    "61",
    "draw",
    fix="draw from the generator that is given",
    effect="one pattern burnt into all pictures: the same z adds up (std 11 where 0.5 is right)",
)
def same_noise_at_every_step(
    shape: Any, generator: torch.Generator | None, dtype: torch.dtype
) -> Tensor:
    """every step adds the same z: the generator is made again with the same seed inside"""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@mistake(
    "62",
    "draw",
    fix="randn of the whole shape",
    effect="the images of a batch resemble each other; each by itself looks right",
)
def same_noise_for_all_images(
    shape: Any, generator: torch.Generator | None, dtype: torch.dtype, law: Any = torch.randn
) -> Tensor:
    """all images of the batch get the same z"""
    return law((1, *shape[1:]), generator=generator, dtype=dtype).expand(shape)


@mistake(
    "62-channel",
    "draw",
    fix="randn of the whole shape",
    effect="blotches of one colour: the brightness wanders, and details get no noise",
)
def same_noise_for_all_pixels(
    shape: Any, generator: torch.Generator | None, dtype: torch.dtype, law: Any = torch.randn
) -> Tensor:
    """all pixels of a channel get the same z"""
    return law((*shape[:2], 1, 1), generator=generator, dtype=dtype).expand(shape)


@mistake(
    "62-image",
    "draw",
    fix="randn of the whole shape",
    effect="the brightness of each picture wanders, and details get no noise",
    seen_in=("kangjie-ding/DDIM-Pytorch models/diffusion.py",),
)
def one_number_for_each_image(
    shape: Any, generator: torch.Generator | None, dtype: torch.dtype, law: Any = torch.randn
) -> Tensor:
    """all pixels of an image get the same z, in every channel"""
    ones = [1] * (len(shape) - 1)
    return law((shape[0], *ones), generator=generator, dtype=dtype).expand(shape)


@mistake(
    "63",
    "draw",
    fix="randn, not rand",
    effect="far too bright and flat: each step adds 0.5 sigma on average",
)
def uniform_noise(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    """z is uniform in [0, 1) (rand), should be normal (randn)"""
    return torch.rand(shape, generator=generator, dtype=dtype)


@mistake(
    "63-centred",
    "draw",
    fix="randn, not rand",
    effect="too smooth: its spread is 0.58, not 1",
)
def centred_uniform_noise(
    shape: Any, generator: torch.Generator | None, dtype: torch.dtype
) -> Tensor:
    """z is uniform in [-1, 1), should be normal (randn)"""
    return 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1


SHARED = (same_noise_for_all_images, same_noise_for_all_pixels, one_number_for_each_image)
LAWS = (uniform_noise, centred_uniform_noise)


def wrong_draws() -> Iterator[tuple[tuple[Mistake, ...], Callable[..., Tensor]]]:
    """The mistakes of a draw, each with what it draws; then two at once: numbers that are shared,
    of another law."""
    for one in (*SHARED, *LAWS):
        yield (one,), one.seams["draw"]
    for law, shared in product(LAWS, SHARED):
        yield (law, shared), partial(shared.seams["draw"], law=law.seams["draw"])


@mistake(
    "71",
    "std",
    fix="beta = 1 - ab / ab_prev",
    effect="right with all steps; with 50, a quarter of the contrast",
    seen_in=("huggingface/diffusers#3006",),
)
def strided_variance_of_the_full_chain(
    kind: str, level: Level, out: Tensor | None = None
) -> Tensor:
    """in a strided chain the variance still takes beta_t of the full chain, should take 1 -
    ab/ab_prev"""
    return beta_of_the_full_chain(kind, level, out)


@mistake(
    "71-tilde",
    "std",
    fix="beta = 1 - ab / ab_prev, with ab_prev of the list",
    effect="right with all steps; with few, too smooth",
)
def strided_beta_tilde_of_the_full_chain(
    kind: str, level: Level, out: Tensor | None = None
) -> Tensor:
    """in a strided chain the variance is that of the full chain at t, should be that of the
    stride"""
    return right.std(kind, full_chain(level), out)


@of_learned(
    "71-learned",
    "std",
    fix="beta = 1 - ab / ab_prev at both ends",
    effect="right with all steps; with few, too smooth wherever v is above 0",
    formula=OF_LEARNED,
)
def strided_end_of_the_full_chain(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """in a strided chain the upper end of a learned variance is still beta_t of the full chain,
    should be 1 - ab/ab_prev"""
    if kind not in BETWEEN:
        return right.std(kind, level, out)
    beta, (_, small) = 1 - level.alpha_bar / full_chain(level).alpha_bar_prev, ends(level)
    return (0.5 * right.log_variance(kind, beta, small, out)).exp()

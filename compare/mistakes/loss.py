"""Mistakes of a training loss.

Right: the mean of (noise - model(x_t, t))^2, with t uniform in 0..T-1 for each image, one noise for
x_t and the target, images in [-1, 1], and a model that is told what sampling tells it (Ho et al.
eq. 14); the target of a model of v: sqrt(ab) noise - sqrt(1-ab) x_0 (Salimans & Ho, section 4).
"""

from functools import partial

import torch
from torch import Tensor

from compare.mistakes.entry import answer, entry
from compare.mistakes.loop import UNIFORM
from compare.oracle import Loss
from compare.oracle.algorithms import DIVIDERS, TARGETS, min_snr

MIN_SNR = (
    "min(SNR, gamma) for a model that predicts x_0, over SNR for the noise, over SNR + 1 for v "
    "(Hang et al. 2023, section 3.4)"
)

mistake = partial(
    entry,
    stage="loss",
    made=answer,
    right="",
)


@mistake(
    "17",
    "loss",
    fix="noise = randn_like(x_0)",
    effect="a model that returns 0 has loss 0.33, not 1; samples are brighter than the data",
    seen_in=("acids-ircam/diffusion_models#8",),
    only="loss",
)
def uniform_noise_in_the_loss() -> Loss:
    """the noise is uniform in [0, 1) (rand), should be normal (randn)"""
    return Loss(noise=UNIFORM)


@mistake(
    "18",
    "loss",
    fix="use one noise tensor for x_t and for the target",
    effect="the loss is stuck near 1, and the model learns to return 0",
    only="loss",
)
def noise_drawn_again_for_the_target() -> Loss:
    """the noise is drawn again for the target: a perfect model would have loss 2, not 0"""
    return Loss(redrawn=True)


@mistake(
    "18-offset",
    "loss",
    fix="add the offset to the noise before x_t and the target are made of it",
    effect="the offset is learnt as part of the image: some samples are too bright, some too dark",
    only="loss",
)
def offset_missing_from_the_target() -> Loss:
    """x_t holds noise with an offset, the target the noise without it: a perfect model would have a
    loss"""
    return Loss(bare_target=True)


@mistake(
    "19",
    "loss",
    fix="t = randint(0, T, (b,)); randint(1, T + 1, (b,)) where t counts from 1",
    effect="it trains, with noisier gradients and a loss that jumps from step to step",
    seen_in=("hao-ai-lab/FastVideo#885",),
    only="loss",
)
def one_t_for_the_batch() -> Loss:
    """one t is drawn for the whole batch"""
    return Loss(per_image=False)


@mistake(
    "20",
    "loss",
    fix="t = randint(0, T, (b,)); randint(1, T + 1, (b,)) where t counts from 1",
    effect="the first sampling step is a guess: pictures may be dull or tinted",
    seen_in=("cloneofsimo/minDiffusion superminddpm.py",),
    only="loss",
)
def last_t_never_trained() -> Loss:
    """t = T-1, where sampling starts, is never trained"""
    return Loss(high=1)


@mistake(
    "20-first",
    "loss",
    fix="t = randint(0, T, (b,)); randint(1, T + 1, (b,)) where t counts from 1",
    effect="the last sampling step is a guess: faint grain on the pictures",
    seen_in=("dome272/Diffusion-Models-pytorch",),
    only="loss",
)
def first_t_never_trained() -> Loss:
    """t = 0 is never trained"""
    return Loss(low=1)


@mistake(
    "20-weight",
    "loss",
    fix="weights above 0 at every t",
    effect="at some t the model is never trained: a step there is a guess",
    only="loss",
)
def weight_of_nothing() -> Loss:
    """the loss weighs some t by 0 or less: they are never trained"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return (snr > snr.min()).float()

    return Loss(weight=weight)


@mistake(
    "23",
    "loss",
    fix="weights and losses both (b,)",
    effect="it trains as if there were no weights",
    seen_in=("bayesflow-org/bayesflow#787",),
    only="loss",
)
def weights_of_other_images() -> Loss:
    """weights of shape (b, 1) meet losses of shape (b,): every image gets the mean weight"""
    return Loss(crossed=True)


@mistake(
    "29",
    "loss",
    fix="snr.clamp(max=gamma), which is min(SNR, gamma)",
    effect="it trains; of a model that predicts the noise, the noisiest t outweigh all others",
    formula=MIN_SNR,
    seen_in=("lucidrains/denoising-diffusion-pytorch b8f8e40",),
    only="loss",
)
def max_for_min_in_min_snr() -> Loss:
    """min-SNR's weight has max(SNR, gamma), should have min(SNR, gamma) (Hang et al. section
    3.4)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return snr.clamp(min=5) / DIVIDERS[kind](snr)

    return Loss(weight=weight)


@mistake(
    "29-inverse",
    "loss",
    fix="multiply by the weight, which is min(SNR, gamma) / SNR for the noise",
    effect="it trains; of a model that predicts the noise, nearly clean images outweigh all others",
    formula=MIN_SNR,
    only="loss",
)
def min_snr_upside_down() -> Loss:
    """the loss is divided by min-SNR's weight, should be multiplied by it (Hang et al. section
    3.4)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return 1 / min_snr(snr, kind)

    return Loss(weight=weight)


@mistake(
    "29-p2",
    "loss",
    fix="1 / (k + SNR)^gamma",
    effect="it trains; nearly clean images outweigh all others, and shapes stay vague",
    formula="1 / (k + SNR)^gamma for a model that predicts the noise (Choi et al. 2022, eq. 8)",
    only="eps_loss",
)
def p2_upside_down() -> Loss:
    """the loss is multiplied by (k + SNR)^gamma, should be divided by it (P2's weight, Choi et al.
    eq. 8)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return (0.5 + snr).sqrt()

    return Loss(weight=weight)


@mistake(
    "30",
    "loss",
    fix="min(SNR, gamma) for x_0, min(SNR, gamma) / (SNR + 1) for v",
    effect="it trains; the t of little noise, where it should learn most, count next to nothing",
    formula=MIN_SNR,
    seen_in=("huggingface/diffusers#5654",),
    only="loss",
)
def min_snr_of_the_noise() -> Loss:
    """min-SNR's weight is that for a model that predicts the noise, min(SNR, gamma) / SNR, and
    yours predicts something else (Hang et al. section 3.4)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return min_snr(snr, "epsilon")

    return Loss(weight=weight)


@mistake(
    "30-image",
    "loss",
    fix="min(SNR, gamma) / SNR for the noise, min(SNR, gamma) / (SNR + 1) for v",
    effect="it trains; the t of much noise, where shapes are made, count next to nothing",
    formula=MIN_SNR,
    only="loss",
)
def min_snr_of_the_image() -> Loss:
    """min-SNR's weight is that for a model that predicts x_0, min(SNR, gamma), and yours predicts
    something else (Hang et al. section 3.4)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return min_snr(snr, "sample")

    return Loss(weight=weight)


@mistake(
    "30-v",
    "loss",
    fix="min(SNR, gamma) / SNR for the noise, min(SNR, gamma) for x_0",
    effect="it trains, with other weights than were meant",
    formula=MIN_SNR,
    only="loss",
)
def min_snr_of_the_velocity() -> Loss:
    """min-SNR's weight is that for a model that predicts v, min(SNR, gamma) / (SNR + 1), and yours
    predicts something else (Hang et al. section 3.4)"""

    def weight(snr: Tensor, kind: str) -> Tensor:
        return min_snr(snr, "v_prediction")

    return Loss(weight=weight)


@mistake(
    "26-loss",
    "loss",
    fix="loss = mean((noise - model(x_t, t))^2)",
    effect="the loss looks normal; samples explode, as the model's pictures are read as noise",
    only="loss",
)
def x_0_as_target() -> Loss:
    """the target is x_0 although the model predicts the noise"""
    return Loss(target=TARGETS["sample"])


@mistake(
    "27-loss",
    "loss",
    fix="compare with what the model predicts",
    effect="the loss looks normal; samples are grey blobs, as the model's noise is read as a "
    "picture",
    only="loss",
)
def noise_as_target() -> Loss:
    """the target is the noise although the model predicts something else"""
    return Loss(target=TARGETS["epsilon"])


@mistake(
    "47-loss",
    "loss",
    fix="loss = mean((noise - model(x_t, t))^2)",
    effect="the loss looks normal; samples explode, as each step adds the noise that it should "
    "remove",
    only="eps_loss",
)
def minus_noise_as_target() -> Loss:
    """the target is minus the noise: output and noise are added before they are squared"""

    def target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(alpha_bar), torch.zeros_like(alpha_bar)

    return Loss(target=target)


@mistake(
    "24-loss",
    "loss",
    fix="sqrt(ab) noise - sqrt(1-ab) x_0",
    effect="the loss looks normal; samples are dark, of less contrast",
    only="v_loss",
)
def velocity_target_with_plus() -> Loss:
    """in the velocity target x_0 is added, should be subtracted (Salimans & Ho, section 4)"""

    def target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    return Loss(target=target)


@mistake(
    "24-minus",
    "loss",
    fix="sqrt(ab) noise - sqrt(1-ab) x_0",
    effect="the loss looks normal; samples run away from the data",
    only="v_loss",
)
def minus_velocity_as_target() -> Loss:
    """the whole velocity target has the wrong sign (Salimans & Ho, section 4)"""

    def target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        return -alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    return Loss(target=target)


@mistake(
    "25-loss",
    "loss",
    fix="sqrt(ab) noise - sqrt(1-ab) x_0",
    effect="the loss looks normal; samples are too bright, of more than twice the contrast",
    only="v_loss",
)
def velocity_target_with_levels_swapped() -> Loss:
    """the loss swaps signal and noise level in its velocity target (Salimans & Ho, section
    4)"""

    def target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        return (1 - alpha_bar).sqrt(), -alpha_bar.sqrt()

    return Loss(target=target)


@mistake(
    "26-v-loss",
    "loss",
    fix="compare with what the model predicts",
    effect="the loss looks normal; samples explode where v is read as noise",
    only="loss",
)
def velocity_as_target() -> Loss:
    """the target is the velocity although the model predicts something else"""
    return Loss(target=TARGETS["v_prediction"])


@mistake(
    "32-before",
    "loss",
    fix="((noise - output) ** 2).mean(), not (noise - output).mean() ** 2",
    effect="the loss is near 0 at once, and nothing is learnt but the mean of the noise",
    only="loss",
)
def mean_before_the_square() -> Loss:
    """errors are averaged before they are squared, so that they cancel"""

    def reduce(error: Tensor) -> Tensor:
        return error.mean().square()

    return Loss(reduce=reduce)


@mistake(
    "32-detached",
    "loss",
    fix="return the loss itself: no detach(), item() or float() of it, and no torch.no_grad()",
    effect="the loss is printed and never falls: nothing is learnt",
    only="loss",
)
def loss_without_a_gradient() -> Loss:
    """the loss has no gradient that reaches the model: it, or the model's output, is detached, made
    a number, or computed under no_grad"""
    return Loss(learns=False)


@mistake(
    "32-first",
    "loss",
    fix="mean over everything",
    effect="it trains, as slowly as with a batch of one",
    only="loss",
)
def loss_of_the_first_image() -> Loss:
    """the loss is that of the first image alone"""

    def reduce(error: Tensor) -> Tensor:
        return error[0].square().mean()

    return Loss(reduce=reduce)


@mistake(
    "32",
    "loss",
    fix="mean over everything",
    effect="losses in the thousands; the learning rate that worked explodes with a larger batch "
    "or image",
    only="loss",
)
def loss_summed() -> Loss:
    """the loss is summed over the batch and its pixels, should be their mean"""

    def reduce(error: Tensor) -> Tensor:
        return error.square().sum()

    return Loss(reduce=reduce)


@mistake(
    "32-batch",
    "loss",
    fix="mean over everything",
    effect="losses in the hundreds; the learning rate that worked explodes with a larger image",
    only="loss",
)
def loss_summed_over_pixels() -> Loss:
    """the loss is summed over pixels, should be their mean"""

    def reduce(error: Tensor) -> Tensor:
        return error.square().sum() / len(error)

    return Loss(reduce=reduce)


@mistake(
    "34",
    "loss",
    fix="leave x_0 in [-1, 1]",
    effect="pale pictures: 0.1 and 0.9 come out as 0.55 and 0.95",
    only="loss",
)
def images_from_zero_to_one() -> Loss:
    """images are moved to [0, 1], but sampling assumes [-1, 1]"""
    return Loss(scale=0.5, shift=0.5)


@mistake(
    "35",
    "loss",
    fix="leave x_0 in [-1, 1]",
    effect="pale pictures, half the contrast",
    seen_in=("cloneofsimo/minDiffusion",),
    only="loss",
)
def images_halved() -> Loss:
    """images are halved to [-0.5, 0.5], but sampling assumes [-1, 1]"""
    return Loss(scale=0.5)


@mistake(
    "36",
    "loss",
    fix="normalise once",
    effect="dark pictures: the model learns data in [-3, 1], and sampling clips it at -1",
    seen_in=("IDEALLab/EngiOpt#64",),
    only="loss",
)
def images_normalised_twice() -> Loss:
    """images in [-1, 1] are normalised a second time, to [-3, 1]"""
    return Loss(scale=2.0, shift=-1.0)


@mistake(
    "77-image",
    "loss",
    fix="one t for each image: in its x_t, and told with it",
    effect="it trains to the loss of a model that is not told t, and the pictures are blurred",
    only="loss",
)
def model_told_the_t_of_another_image() -> Loss:
    """the model is told the t of another image of the batch, not the one that x_t is made with"""
    return Loss(others=True)


@mistake(
    "77",
    "loss",
    fix="the same t at the same level of noise, in the loss as in sampling",
    effect="blind with a thousand steps: the network takes a picture for one of a step less noise",
    only="both",
)
def loss_tells_the_next_t() -> Loss:
    """the loss tells the model one step more, t + 1, at the level of noise at which sampling tells
    it t"""
    return Loss(ahead=1)


@mistake(
    "77-loop",
    "loss",
    fix="the same t at the same level of noise, in the loss as in sampling",
    effect="blind with a thousand steps: the network takes a picture for one of a step more noise",
    only="both",
)
def loop_tells_the_next_t() -> Loss:
    """sampling tells the model one step more, t + 1, at the level of noise at which the loss tells
    it t"""
    return Loss(ahead=-1)

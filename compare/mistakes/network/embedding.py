"""Mistakes in the sinusoidal embedding of timesteps.

Right: the sines and the cosines of angle_i = t 10000^(-i / (half - shift)), i = 0..half-1, half =
dim / 2 (Vaswani et al., section 3.5), in either order, in halves or in pairs, shift 0 or 1.
"""

from functools import partial

import torch
from torch import Tensor

from compare.mistakes.entry import entry
from compare.oracle.embedding import Angles, Waves, embedding, numbers

mistake = partial(
    entry, place="embedding", stage="embedding", only="embedding",
    right="compare.oracle.embedding:embedding",
)  # fmt: skip


@mistake(
    "88-joined",
    fix="cat([sin, cos], dim=-1)",
    effect="twice as many vectors as images, of half the length: an error, or those of others",
)
def joined_along_the_batch(t: Tensor, dim: int, waves: Waves) -> Angles:
    """sines and cosines are joined along the batch, should be along the channels"""
    angle, cosine = embedding(t, dim, Waves(period=waves.period, shift=waves.shift))
    halves = angle.unflatten(1, (2, -1)), cosine.unflatten(1, (2, -1))
    angle, cosine = (pair.transpose(0, 1).flatten(0, 1) for pair in halves)
    return angle, cosine


def _in_rows(angle: Tensor) -> Angles:
    odd = torch.arange(len(angle))[:, None] % 2 == 1
    return angle, odd.expand_as(angle)


@mistake(
    "88-rows",
    fix="emb[:, 0::2] = sin(...), emb[:, 1::2] = cos(...)",
    effect="the vector of t depends on its place in the batch: the network hardly knows t",
)
def sines_in_even_rows(t: Tensor, dim: int, waves: Waves) -> Angles:
    """every other image of the batch has sines alone and the next cosines alone, should be every
    other channel"""
    return _in_rows(t[:, None] * waves.frequencies(torch.arange(dim), dim // 2))


@mistake(
    "88-rows-rising",
    fix="emb[:, 0::2] = sin(t / 10000 ** (2 i / dim)), emb[:, 1::2] = cos(...)",
    effect="the vector of t depends on its place in the batch: the network hardly knows t",
    seen_in=("gmongaras/Diffusion_models_from_scratch#10",),
)
def rising_sines_in_even_rows(t: Tensor, dim: int, waves: Waves) -> Angles:
    """every other image of the batch has sines alone and the next cosines alone, should be every
    other channel; and t is multiplied by 10000^(2i/dim), should be divided"""
    return _in_rows(t[:, None] / waves.frequencies(torch.arange(dim), dim // 2))


@mistake(
    "88-odd",
    fix="one exponent for both of a pair: 2 (j // 2) / dim",
    effect="it trains nearly as well; sine and cosine are no pair; converted weights give noise",
    seen_in=("BrianPulfer/PapersReimplementations#9",),
)
def cosines_by_odd_numbers(t: Tensor, dim: int, waves: Waves) -> Angles:
    """cosines have the frequencies of the odd entries, should have those of the sines beside
    them"""
    i, half = numbers(dim), dim // 2
    sines, cosines = (t[:, None] * waves.frequencies(j, half) for j in (i, i + 0.5))
    return waves.arranged(sines, cosines)


@mistake(
    "88-running",
    fix="the same dim / 2 frequencies for both halves",
    effect="no wave has its pair: the sines alone are fast, the cosines alone slow",
)
def frequencies_run_on(t: Tensor, dim: int, waves: Waves) -> Angles:
    """the frequencies fall over all entries, the first half of them sines and the second cosines,
    should be the same for both"""
    i, half = numbers(dim), dim // 2
    first, second = (t[:, None] * waves.frequencies(j, dim) for j in (i, i + half))
    return waves.arranged(*((second, first) if waves.cosine_first else (first, second)))


@mistake(
    "88-sines",
    fix="cat([sin, cos])",
    effect="half of the vector says nothing new; t and -t, early and late turns look alike",
)
def sines_twice(t: Tensor, dim: int, waves: Waves) -> Angles:
    """both halves are sines, should be sines and cosines"""
    angle, cosine = embedding(t, dim, waves)
    return angle, torch.zeros_like(cosine)


@mistake(
    "88-cosines",
    fix="cat([sin, cos])",
    effect="half of the vector says nothing new, and slow waves hardly tell small t apart",
)
def cosines_twice(t: Tensor, dim: int, waves: Waves) -> Angles:
    """both halves are cosines, should be sines and cosines"""
    angle, cosine = embedding(t, dim, waves)
    return angle, torch.ones_like(cosine)


@mistake(
    "88-rising",
    fix="t 10000 ** (-i / half): the exponent is negative",
    effect="waves so fast that neighbouring t have nothing in common; float32 makes noise of them",
)
def frequencies_rise(t: Tensor, dim: int, waves: Waves) -> Angles:
    """t is multiplied by 10000^(i/half), should be divided (Vaswani et al., section 3.5; DiffWave
    means it so)"""
    angle = t[:, None] * waves.scale**2 / waves.frequencies(numbers(dim), dim // 2)
    return waves.arranged(angle, angle)


@mistake(
    "88-linear",
    fix="10000 ** (-i / half)",
    effect="all waves are fast: early and late t look alike",
)
def frequencies_on_a_line(t: Tensor, dim: int, waves: Waves) -> Angles:
    """the frequencies lie on a straight line from 1 to 1/10000, should be powers of 10000"""
    angle = t[:, None] * waves.scale * torch.linspace(1, 1 / waves.period, dim // 2, dtype=t.dtype)
    return waves.arranged(angle, angle)


@mistake(
    "88-exp",
    fix="exp(-log(10000) i / half)",
    effect="all waves are fast: early and late t look alike",
)
def exponents_for_frequencies(t: Tensor, dim: int, waves: Waves) -> Angles:
    """t is multiplied by -log(10000) i/half itself, should be by its exponential"""
    angle = t[:, None] * (waves.frequencies(numbers(dim), dim // 2) / waves.scale).log()
    return waves.arranged(angle, angle)


@mistake(
    "88-position",
    fix="t[:, None] * frequencies",
    effect="the network is told the place in the batch and not the noise level",
)
def place_in_the_batch(t: Tensor, dim: int, waves: Waves) -> Angles:
    """the place in the batch is embedded, should be t"""
    return embedding(torch.arange(len(t), dtype=t.dtype), dim, waves)


@mistake(
    "88-divided",
    fix="embed t of 0..T-1, or 1000 t / T",
    effect="slow training and blurred pictures: the fastest wave makes no turn, all others are "
    "nearly constant",
    seen_in=("sihyun-yu/REPA#40", "willisma/SiT#24"),
)
def divided_before_its_waves(t: Tensor, dim: int, waves: Waves) -> Angles:
    """t / T goes into frequencies that are made for t of 0..1000"""
    return embedding(t / waves.T, dim, waves)


@mistake(
    "89-waves",
    fix="keep t an integer or float32 until its angles are computed",
    effect="a little grain: the network is told up to 4 steps beside its t",
)
def t_rounded_to_bfloat16(t: Tensor, dim: int, waves: Waves) -> Angles:
    """t is rounded to bfloat16 before its sinusoids: 507 of 1,000 timesteps are left"""
    return embedding(t.bfloat16().to(t.dtype), dim, waves)


@mistake(
    "89-whole",
    fix="embed t itself",
    effect="blurred pictures: the network must guess how much noise there is",
)
def one_vector_for_every_t(t: Tensor, dim: int, waves: Waves) -> Angles:
    """every timestep is embedded as 0, as t / T cast to an integer is"""
    return embedding(0 * t, dim, waves)

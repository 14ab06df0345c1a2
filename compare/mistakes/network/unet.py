"""Mistakes in a U-Net: each is planted in scratch's network, in the modules of one class.

Right: `scratch.unet`. The oracle knows no network; so a mistake explains the network that is judged
if scratch's, with it planted, makes the same of the same weights.
"""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compare.mistakes.entry import Mistake, entry

Waves = Callable[[Tensor, int, bool, int], Tensor]  # t, dim, flip_sin_to_cos, freq_shift

mistake = partial(entry, stage="unet")


def planted(
    network: nn.Module, mistake: Mistake, names: Collection[str] | None = None
) -> nn.Module:
    """`network`, changed in place: the mistake in every module of its class, or in those named.

    Args:
        network: a `scratch.UNet2DModel`.
        mistake: which.
        names: parts to plant it in.
    """
    for name, module in list(network.named_modules()):
        plant = mistake.seams.get(type(module).__name__)
        if plant is not None and (names is None or name in names):
            plant(module)
    return network


@contextmanager
def tried_on(network: nn.Module, mistake: Mistake, names: Collection[str]) -> Iterator[None]:
    """`network` with the mistake inside the block, and as it was afterwards."""
    before = [(m, dict(m.__dict__), dict(m._modules)) for m in network.modules()]
    try:
        planted(network, mistake, names)
        yield
    finally:
        for module, attributes, children in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._modules.clear()
            module._modules.update(children)


def right_waves(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """The waves of t of scratch's network."""
    from scratch.unet import timestep_embedding

    return timestep_embedding(t, dim, flip_sin_to_cos=flip, freq_shift=shift)


def waves_of(t: Tensor, frequencies: Tensor, dim: int, flip: bool) -> Tensor:
    """Sines and cosines of t times the frequencies."""
    angle = t[:, None].float() * frequencies
    halves = [angle.sin(), angle.cos()]
    return F.pad(torch.cat(halves[::-1] if flip else halves, 1), (0, dim % 2))


def with_waves(wrong: Waves) -> Callable[[Any], None]:
    """Plants other waves of t in front of the two layers on them."""

    def plant(network: Any) -> None:
        right, embed, config = network.forward, network.time_embedding.forward, network.config

        def forward(sample: Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
            t = torch.as_tensor(timestep).reshape(-1).expand(len(sample))
            options = config.block_out_channels[0], config.flip_sin_to_cos, config.freq_shift
            waves = wrong(t, *options)
            network.time_embedding.forward = lambda w: embed(waves.to(w.dtype))
            return right(sample, timestep, *args, **kwargs)

        network.forward = forward

    return plant


def with_attention(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Any], None]:
    """Plants another formula of queries, keys and values (b, heads, pixels, d)."""

    def forward(block: Any, x: Tensor) -> Tensor:
        pixels = block.group_norm(x).flatten(2).mT
        q, k, v = (
            to(pixels).unflatten(2, (block.heads, -1)).transpose(1, 2)
            for to in (block.to_q, block.to_k, block.to_v)
        )
        out = block.to_out(attend(q, k, v).transpose(1, 2).flatten(2)).mT
        return out.unflatten(2, x.shape[2:]) + x

    def plant(block: Any) -> None:
        block.forward = partial(forward, block)

    return plant


def with_skips(join: Callable[[Tensor, list[Tensor], int], Tensor]) -> Callable[[Any], None]:
    """Plants another use of a block's skips, listed from the first one made to the last."""

    def forward(block: Any, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        n = len(block.resnets)
        own = skips[-n:]
        del skips[-n:]
        for i, resnet in enumerate(block.resnets):
            x = resnet(join(x, own, i), emb)
            if block.attentions:
                x = block.attentions[i](x)
        for upsample in block.upsamplers:
            x = upsample(x)
        return x

    def plant(block: Any) -> None:
        block.forward = partial(forward, block)

    return plant


def same(x: Tensor) -> Tensor:
    """x itself: a layer that does nothing."""
    return x


wave = partial(
    mistake,
    made=with_waves,
    right="scratch.unet:timestep_embedding",
    formula="angle_i = t * 10000 ** (-i / (half - freq_shift)), half = dim // 2: the sines of all, "
    "then the cosines, or the reverse (Vaswani et al., section 3.5)",
)
block = partial(
    mistake,
    right="scratch.unet:ResidualBlock.forward",
    formula="x + conv2(silu(norm2(conv1(silu(norm1(x))) + time))) (Ho et al., appendix B)",
)
attention = partial(
    mistake,
    right="scratch.unet:SelfAttention.forward",
    formula="x + softmax(Q K^T / sqrt(d)) V, the softmax over the keys, in c // d heads of d "
    "channels (Vaswani et al. eq. 1; Ho et al., appendix B)",
)
skip = partial(
    mistake,
    made=with_skips,
    right="scratch.unet:UpBlock.forward",
    formula="each block takes cat([x, skip], dim=1), the skip that was made last first "
    "(Ronneberger et al.)",
)


@wave(
    "88",
    "UNet2DModel",
    fix="put them in the order that flip_sin_to_cos says",
    effect="it trains as well; weights of another program see waves that they do not know",
    seen_in=(
        "huggingface/diffusers#1369",
        "flashinfer-ai/flashinfer#3819",
    ),
)
def sines_and_cosines_exchanged(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """sines and cosines of the time embedding are in the other order"""
    return right_waves(t, dim, not flip, shift)


@wave(
    "88-shift",
    "UNet2DModel",
    fix="divide by half - freq_shift",
    effect="it trains as well; weights of another program see waves that are a little off",
)
def other_freq_shift(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """the frequencies of the time embedding are divided by the other of half and half - 1"""
    return right_waves(t, dim, flip, 1 - shift)


@wave(
    "88-both",
    "UNet2DModel",
    fix="pass flip_sin_to_cos and freq_shift on",
    effect="it trains as well; weights of another program see waves that they do not know",
)
def other_convention_of_waves(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """the time embedding follows the other convention: order and frequencies"""
    return right_waves(t, dim, not flip, 1 - shift)


@wave(
    "88-period",
    "UNet2DModel",
    fix="10000 ** (-i / (half - freq_shift))",
    effect="it trains as well; converted weights give noise",
)
def period_of_a_thousand(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """the frequencies of the time embedding are powers of 1000, should be of 10000 (Vaswani et
    al., section 3.5)"""
    half = dim // 2
    return waves_of(t, 1000 ** (-torch.arange(half) / (half - shift)), dim, flip)


@wave(
    "88-exponent",
    "UNet2DModel",
    fix="10000 ** (-i / (half - freq_shift)), half = dim // 2",
    effect="it trains; no wave is slower than t / 100, and converted weights give noise",
)
def exponent_over_dim(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """the exponents of the time embedding are divided by dim, should be by half of it (Vaswani
    et al., section 3.5)"""
    half = dim // 2
    return waves_of(t, 10000 ** (-torch.arange(half) / (2 * half - shift)), dim, flip)


@wave(
    "88-alternating",
    "UNet2DModel",
    fix="cat([sin, cos]), or the reverse where flip_sin_to_cos says so",
    effect="it trains as well; converted weights give noise",
)
def sines_and_cosines_alternate(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """sines and cosines of the time embedding alternate, should be two halves"""
    right = right_waves(t, dim, flip, shift)
    halves = right[:, : dim // 2 * 2].unflatten(1, (2, -1))
    return torch.cat([halves.mT.flatten(1), right[:, dim // 2 * 2 :]], 1)


@wave(
    "88-scaled",
    "UNet2DModel",
    fix="embed t itself, 0..T-1",
    effect="slow training and blurred pictures: the network hardly tells neighbouring noise "
    "levels apart",
    seen_in=(
        "sihyun-yu/REPA#40",
        "willisma/SiT#24",
    ),
)
def t_scaled_before_its_waves(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """t is divided by 1000 before its embedding: all timesteps look alike to the fast waves"""
    return right_waves(t / 1000, dim, flip, shift)


@wave(
    "88-batch",
    "UNet2DModel",
    fix="sines and cosines side by side in each row: cat([sin, cos], dim=1)",
    effect="the network is told the time in another way at each place of the batch; a single "
    "picture comes out different",
    seen_in=("gmongaras/Diffusion_models_from_scratch#10",),
)
def sines_and_cosines_along_the_batch(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """sines and cosines of the time embedding take turns along the batch, should along the
    channels: a prediction depends on the place of its picture"""
    waves = right_waves(t, dim, flip, shift)
    other = right_waves(t, dim, not flip, shift)
    return torch.cat([waves[i : i + 1] if i % 2 else other[i : i + 1] for i in range(len(t))])


@wave(
    "89",
    "UNet2DModel",
    fix="keep t an integer or float32 until its angles are computed",
    effect="a little grain: the network is told up to 4 steps beside its t",
    seen_in=("modelscope/DiffSynth-Studio#1025",),
)
def t_in_bfloat16(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """t is rounded to bfloat16 before its embedding: 507 of 1,000 timesteps are left"""
    return right_waves(t.bfloat16(), dim, flip, shift)


@wave(
    "89-integer",
    "UNet2DModel",
    fix="embed t itself, in float32",
    effect="blurred pictures: the network must guess how much noise there is",
)
def t_is_always_zero(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """t becomes 0 for every timestep, as t / T cast to an integer does"""
    return right_waves(0 * t, dim, flip, shift)


@block(
    "90",
    "ResidualBlock",
    fix="add its projection in every residual block",
    effect="the gradient of the projection is 0; blurred pictures if no other block adds it",
)
def time_not_added(block: Any) -> None:
    """the time embedding is not added in the block"""
    width = block.time_emb_proj.out_features
    block.time_emb_proj.forward = lambda emb: emb.new_zeros(len(emb), width)


@wave(
    "90-first",
    "UNet2DModel",
    fix="embed t (b,), a timestep for each picture",
    effect="sampling looks right, as all pictures have one t there; training hardly learns",
)
def first_t_for_all(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    """the t of the first picture is told for all pictures of the batch"""
    return right_waves(t[:1].expand(len(t)), dim, flip, shift)


@attention(
    "91",
    "SelfAttention",
    fix="softmax over the last axis of Q K^T",
    effect="it trains worse: attention no longer averages, its weights for a pixel do not sum to 1",
    seen_in=("labmlai/annotated_deep_learning_paper_implementations#146",),
    made=with_attention,
)
def softmax_over_the_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """attention's softmax runs over the queries, should run over the keys (Vaswani et al. eq.
    1)"""
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v


@attention(
    "91-scale",
    "SelfAttention",
    fix="Q K^T / sqrt(d), d channels per head",
    effect="it trains worse: each pixel looks at one other alone, and gradients vanish",
    made=with_attention,
)
def scores_not_scaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """attention's scores are not divided by sqrt(d) (Vaswani et al. eq. 1)"""
    return (q @ k.mT).softmax(dim=-1) @ v


@attention(
    "91-channels",
    "SelfAttention",
    fix="Q K^T / sqrt(d), d channels per head",
    effect="right with one head; with more, blurred attention and drift after a conversion",
    made=with_attention,
)
def scores_scaled_by_all_channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """attention's scores are divided by the root of all channels, should be of one head's
    (Vaswani et al. eq. 1)"""
    scale = math.sqrt(q.shape[-1] * q.shape[1])
    return (q @ k.mT / scale).softmax(dim=-1) @ v


@attention(
    "91-residual",
    "SelfAttention",
    fix="x + attention(x)",
    effect="it trains worse: what attention does not carry on is lost at that level",
)
def attention_without_residual(block: Any) -> None:
    """attention replaces its input, should be added to it (Ho et al., appendix B)"""
    right = block.forward
    block.forward = lambda x: right(x) - x


@block(
    "92-1",
    "ResidualBlock",
    fix="conv1(silu(norm1(x)))",
    effect="unused parameters (no gradient); training is less stable, converted weights drift",
)
def first_norm_not_called(block: Any) -> None:
    """the first GroupNorm is built but not called"""
    block.norm1.forward = same


@block(
    "92-2",
    "ResidualBlock",
    fix="conv2(silu(norm2(h + time)))",
    effect="unused parameters (no gradient); training is less stable, converted weights drift",
)
def second_norm_not_called(block: Any) -> None:
    """the second GroupNorm is built but not called"""
    block.norm2.forward = same


@attention(
    "92-attention",
    "SelfAttention",
    fix="queries, keys, values of group_norm(x)",
    effect="unused parameters (no gradient); converted weights drift",
    seen_in=("labmlai/annotated_deep_learning_paper_implementations",),
)
def attention_norm_not_called(block: Any) -> None:
    """attention's GroupNorm is built but not called"""
    block.group_norm.forward = same


@mistake(
    "92-out",
    "UNet2DModel",
    fix="conv_out(silu(conv_norm_out(x)))",
    effect="unused parameters (no gradient); outputs of the wrong size with converted weights",
    right="scratch.unet:UNet2DModel.forward",
    formula="conv_out(silu(conv_norm_out(x))) (Ho et al., appendix B)",
)
def last_norm_not_called(network: Any) -> None:
    """the last GroupNorm is built but not called"""
    network.conv_norm_out.forward = same


@skip(
    "93",
    "UpBlock",
    fix="take the last one made first",
    effect="it trains; details come from the wrong layer, and converted weights give noise",
)
def skips_first_in_first_out(x: Tensor, skips: list[Tensor], i: int) -> Tensor:
    """skips are taken first in, first out"""
    return torch.cat([x, skips[i]], 1)


@skip(
    "93-swapped",
    "UpBlock",
    fix="cat([x, skip], dim=1)",
    effect="it trains as well; converted weights give noise",
)
def skip_before_x(x: Tensor, skips: list[Tensor], i: int) -> Tensor:
    """the skip stands before x in the channels, should stand after it"""
    return torch.cat([skips[-1 - i], x], 1)


@skip(
    "93-missing",
    "UpBlock",
    fix="cat([x, skip], dim=1)",
    effect="blurred pictures: fine detail cannot pass the lowest level",
    seen_in=("lucidrains/denoising-diffusion-pytorch@844e557",),
)
def skips_not_used(x: Tensor, skips: list[Tensor], i: int) -> Tensor:
    """skips are not used"""
    return torch.cat([x, 0 * skips[-1 - i]], 1)


@block(
    "94",
    "ResidualBlock",
    fix="nn.Dropout, or F.dropout(x, p, self.training)",
    effect="two passes in eval mode differ: grain, and no seed gives the same picture twice",
    seen_in=("labmlai/annotated_deep_learning_paper_implementations@9e807c8",),
)
def dropout_in_eval_mode(block: Any) -> None:
    """dropout acts in eval mode too, as functional dropout without `training` does"""
    p = block.dropout.p or 0.1
    block.dropout.forward = lambda x: F.dropout(x, p)


@block(
    "96",
    "ResidualBlock",
    fix="GroupNorm, which sees one image alone (Ho et al., appendix B)",
    effect="a picture depends on its batch-mates, and a single one comes out different",
    seen_in=("cloneofsimo/minDiffusion superminddpm.py",),
)
def batch_norm(block: Any) -> None:
    """BatchNorm normalises with the other images of the batch"""
    for name in ("norm1", "norm2"):
        right = getattr(block, name)
        wrong = nn.BatchNorm2d(right.num_channels, eps=right.eps)
        wrong.weight, wrong.bias = right.weight, right.bias
        wrong.train(right.training)
        setattr(block, name, wrong)


@attention(
    "96-attention",
    "SelfAttention",
    fix="attention over the pixels of one picture; nn.MultiheadAttention(..., batch_first=True) of "
    "inputs (b, n, c)",
    effect="pictures of a batch are mixed, pixels are not; a single picture comes out different",
    made=with_attention,
)
def attention_over_the_batch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """attention runs over the pictures of the batch, should over the pixels of each"""
    q, k, v = (each.transpose(0, 2) for each in (q, k, v))
    return ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v).transpose(0, 2)


@attention(
    "97",
    "SelfAttention",
    fix="channels // attention_head_dim heads; one where it is None",
    effect="it trains as well; converted weights drift, and nothing warns",
)
def other_number_of_heads(block: Any) -> None:
    """attention has the other of one head and channels / 8 heads"""
    heads, channels = block.heads, block.to_q.out_features
    block.heads = 1 if heads > 1 else max(channels // 8, 1)


@attention(
    "97-count",
    "SelfAttention",
    fix="channels // attention_head_dim heads",
    effect="it trains as well; converted weights drift, and nothing warns",
)
def heads_for_head_dim(block: Any) -> None:
    """attention_head_dim is taken for the number of heads"""
    block.heads = block.to_q.out_features // block.heads


@mistake(
    "97-eps",
    "GroupNorm",
    fix="eps=norm_eps",
    effect="nothing at all, but for inputs so faint that eps counts: converted weights drift there",
    seen_in=("MegEngine/MegDiffusion#5",),
    right="",
    formula="GroupNorm(groups, channels, eps=norm_eps)",
)
def other_eps(norm: Any) -> None:
    """a GroupNorm has another eps"""
    norm.eps = 1e-6 if norm.eps != 1e-6 else 1e-5


@mistake(
    "97-padding",
    "Downsample",
    fix="pad as downsample_padding says",
    effect="it trains as well; converted weights shift the picture by a pixel at each level",
    right="scratch.unet:Downsample.forward",
    formula="a 3x3 window round every second pixel, padded as downsample_padding says",
)
def other_padding(block: Any) -> None:
    """the downsampling pads the other way: all round, or below and right"""
    block.pad_below_and_right = not block.pad_below_and_right
    block.conv.padding = (0, 0) if block.pad_below_and_right else (1, 1)

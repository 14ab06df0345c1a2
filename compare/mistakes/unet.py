"""What is wrong in a U-Net, each mistake once: planted in scratch's network and tried on.

A network's mistakes have no seam in the oracle, which knows no network; so they are not entries of
`compare.mistakes`, but changes made to blocks of `scratch`'s `UNet2DModel`. A mistake explains the
network that is judged if `scratch`'s, with it planted, makes the same of the same weights.
"""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratch.unet import timestep_embedding

Waves = Callable[[Tensor, int, bool, int], Tensor]  # t, dim, flip_sin_to_cos, freq_shift


class Slip(NamedTuple):
    """A mistake in a network.

    Attributes:
        id: the number in the catalogue, with a suffix where a number has several forms.
        kind: the class of `scratch.unet`, or of torch, that it is planted in.
        plant: makes it in one module of that class.
        words: what is computed, and what should be.
        fix: what to write instead.
    """

    id: str
    kind: str
    plant: Callable[[Any], None]
    words: str
    fix: str


def planted(network: nn.Module, slip: Slip, names: Collection[str] | None = None) -> nn.Module:
    """`network`, changed in place: with the mistake in every module of its kind, or in those named.

    Args:
        network: a `scratch.UNet2DModel`.
        slip: which mistake.
        names: parts to plant it in.
    """
    for name, module in list(network.named_modules()):
        if type(module).__name__ == slip.kind and (names is None or name in names):
            slip.plant(module)
    return network


@contextmanager
def tried_on(network: nn.Module, slip: Slip, names: Collection[str]) -> Iterator[None]:
    """`network` with the mistake inside the block, and as it was afterwards."""
    before = [(m, dict(m.__dict__), dict(m._modules)) for m in network.modules()]
    try:
        planted(network, slip, names)
        yield
    finally:
        for module, attributes, children in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._modules.clear()
            module._modules.update(children)


def _right(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    return timestep_embedding(t, dim, flip_sin_to_cos=flip, freq_shift=shift)


def _other_frequencies(frequencies: Callable[[int, int], Tensor]) -> Waves:
    """Waves with other frequencies, of half and freq_shift."""

    def waves(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
        angle = t[:, None].float() * frequencies(dim // 2, shift)
        halves = [angle.sin(), angle.cos()]
        return F.pad(torch.cat(halves[::-1] if flip else halves, 1), (0, dim % 2))

    return waves


def _alternating(t: Tensor, dim: int, flip: bool, shift: int) -> Tensor:
    right = _right(t, dim, flip, shift)
    halves = right[:, : dim // 2 * 2].unflatten(1, (2, -1))
    return torch.cat([halves.mT.flatten(1), right[:, dim // 2 * 2 :]], 1)


# What can be wrong in the waves of t, with the arguments of `Waves`.
WAVES: dict[str, Waves] = {
    "88": lambda t, dim, flip, shift: _right(t, dim, not flip, shift),
    "88-shift": lambda t, dim, flip, shift: _right(t, dim, flip, 1 - shift),
    "88-both": lambda t, dim, flip, shift: _right(t, dim, not flip, 1 - shift),
    "88-period": _other_frequencies(
        lambda half, shift: 1000 ** (-torch.arange(half) / (half - shift))
    ),
    "88-exponent": _other_frequencies(
        lambda half, shift: 10000 ** (-torch.arange(half) / (2 * half - shift))
    ),
    "88-alternating": _alternating,
    "88-scaled": lambda t, dim, flip, shift: _right(t / 1000, dim, flip, shift),
    "89": lambda t, dim, flip, shift: _right(t.bfloat16(), dim, flip, shift),
    "89-integer": lambda t, dim, flip, shift: _right(0 * t, dim, flip, shift),
}


def _waves(wrong: Waves) -> Callable[[Any], None]:
    """Gives the two layers on the waves of t other waves."""

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


def _without_time(block: Any) -> None:
    width = block.time_emb_proj.out_features
    block.time_emb_proj.forward = lambda emb: emb.new_zeros(len(emb), width)


def _without(norm: str) -> Callable[[Any], None]:
    def plant(block: Any) -> None:
        getattr(block, norm).forward = lambda x: x

    return plant


def _attention(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Any], None]:
    """Another formula of queries, keys and values (b, heads, pixels, d) in place of attention's."""

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


def _over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v


def _unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(dim=-1) @ v


def _by_channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scale = math.sqrt(q.shape[-1] * q.shape[1])
    return (q @ k.mT / scale).softmax(dim=-1) @ v


def _no_residual(block: Any) -> None:
    right = block.forward
    block.forward = lambda x: right(x) - x


def _heads(other: Callable[[int, int], int]) -> Callable[[Any], None]:
    """Another number of heads, of the right one and the channels, with the same weights."""

    def plant(block: Any) -> None:
        block.heads = other(block.heads, block.to_q.out_features)

    return plant


def _skips(join: Callable[[Tensor, list[Tensor], int], Tensor]) -> Callable[[Any], None]:
    """Another use of a block's skips, listed from the first one made to the last."""

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


def _dropping(block: Any) -> None:
    p = block.dropout.p or 0.1
    block.dropout.forward = lambda x: F.dropout(x, p)


def _batch_norms(block: Any) -> None:
    for name in ("norm1", "norm2"):
        right = getattr(block, name)
        wrong = nn.BatchNorm2d(right.num_channels, eps=right.eps)
        wrong.weight, wrong.bias = right.weight, right.bias
        wrong.train(right.training)
        setattr(block, name, wrong)


def _other_eps(norm: Any) -> None:
    norm.eps = 1e-6 if norm.eps != 1e-6 else 1e-5


def _other_padding(block: Any) -> None:
    block.pad_below_and_right = not block.pad_below_and_right
    block.conv.padding = (0, 0) if block.pad_below_and_right else (1, 1)


SLIPS = tuple(
    Slip(*row)
    for row in [
        ("88", "UNet2DModel", _waves(WAVES["88"]),
         "sines and cosines of the time embedding are in the other order",
         "put them in the order that flip_sin_to_cos says"),
        ("88-shift", "UNet2DModel", _waves(WAVES["88-shift"]),
         "the frequencies of the time embedding are divided by the other of half and half - 1",
         "divide by half - freq_shift"),
        ("88-both", "UNet2DModel", _waves(WAVES["88-both"]),
         "the time embedding follows the other convention: order and frequencies",
         "pass flip_sin_to_cos and freq_shift on"),
        ("88-period", "UNet2DModel", _waves(WAVES["88-period"]),
         "the frequencies of the time embedding are powers of 1000, should be of 10000 (Vaswani et "
         "al., section 3.5)", "10000 ** (-i / (half - freq_shift))"),
        ("88-exponent", "UNet2DModel", _waves(WAVES["88-exponent"]),
         "the exponents of the time embedding are divided by dim, should be by half of it (Vaswani "
         "et al., section 3.5)", "10000 ** (-i / (half - freq_shift)), half = dim // 2"),
        ("88-alternating", "UNet2DModel", _waves(WAVES["88-alternating"]),
         "sines and cosines of the time embedding alternate, should be two halves",
         "cat([sin, cos]), or the reverse where flip_sin_to_cos says so"),
        ("88-scaled", "UNet2DModel", _waves(WAVES["88-scaled"]),
         "t is divided by 1000 before its embedding: all timesteps look alike to the fast waves",
         "embed t itself, 0..T-1"),
        ("89", "UNet2DModel", _waves(WAVES["89"]),
         "t is rounded to bfloat16 before its embedding: 507 of 1,000 timesteps are left",
         "keep t an integer or float32 until its angles are computed"),
        ("89-integer", "UNet2DModel", _waves(WAVES["89-integer"]),
         "t becomes 0 for every timestep, as t / T cast to an integer does",
         "embed t itself, in float32"),
        ("90", "ResidualBlock", _without_time, "the time embedding is not added in the block",
         "add its projection in every residual block"),
        ("91", "SelfAttention", _attention(_over_queries),
         "attention's softmax runs over the queries, should run over the keys (Vaswani et al. eq. "
         "1)", "softmax over the last axis of Q K^T"),
        ("91-scale", "SelfAttention", _attention(_unscaled),
         "attention's scores are not divided by sqrt(d) (Vaswani et al. eq. 1)",
         "Q K^T / sqrt(d), d channels per head"),
        ("91-channels", "SelfAttention", _attention(_by_channels),
         "attention's scores are divided by the root of all channels, should be of one head's "
         "(Vaswani et al. eq. 1)", "Q K^T / sqrt(d), d channels per head"),
        ("91-residual", "SelfAttention", _no_residual, "attention replaces its input, should be "
         "added to it (Ho et al., appendix B)", "x + attention(x)"),
        ("92-1", "ResidualBlock", _without("norm1"), "the first GroupNorm is built but not called",
         "conv1(silu(norm1(x)))"),
        ("92-2", "ResidualBlock", _without("norm2"), "the second GroupNorm is built but not called",
         "conv2(silu(norm2(h + time)))"),
        ("92-attention", "SelfAttention", _without("group_norm"),
         "attention's GroupNorm is built but not called", "queries, keys, values of group_norm(x)"),
        ("92-out", "UNet2DModel", _without("conv_norm_out"),
         "the last GroupNorm is built but not called", "conv_out(silu(conv_norm_out(x)))"),
        ("93", "UpBlock", _skips(lambda x, own, i: torch.cat([x, own[i]], 1)),
         "skips are taken first in, first out", "take the last one made first"),
        ("93-swapped", "UpBlock", _skips(lambda x, own, i: torch.cat([own[-1 - i], x], 1)),
         "the skip stands before x in the channels, should stand after it",
         "cat([x, skip], dim=1)"),
        ("93-missing", "UpBlock", _skips(lambda x, own, i: torch.cat([x, 0 * own[-1 - i]], 1)),
         "skips are not used", "cat([x, skip], dim=1)"),
        ("94", "ResidualBlock", _dropping, "dropout acts in eval mode too, as functional dropout "
         "without `training` does", "nn.Dropout, or F.dropout(x, p, self.training)"),
        ("96", "ResidualBlock", _batch_norms, "BatchNorm normalises with the other images of the "
         "batch", "GroupNorm, which sees one image alone (Ho et al., appendix B)"),
        ("97", "SelfAttention", _heads(lambda heads, c: 1 if heads > 1 else max(c // 8, 1)),
         "attention has the other of one head and channels / 8 heads",
         "channels // attention_head_dim heads; one where it is None"),
        ("97-count", "SelfAttention", _heads(lambda heads, c: c // heads),
         "attention_head_dim is taken for the number of heads", "channels // attention_head_dim "
         "heads"),
        ("97-eps", "GroupNorm", _other_eps, "a GroupNorm has another eps", "eps=norm_eps"),
        ("97-padding", "Downsample", _other_padding,
         "the downsampling pads the other way: all round, or below and right",
         "pad as downsample_padding says"),
    ]
)  # fmt: skip
BY_ID = {slip.id: slip for slip in SLIPS}
assert len(BY_ID) == len(SLIPS)

"""The U-Net that sees x_t and t and says which noise is in it, in reading order.

Time embedding, residual block, self-attention, resampling, the three kinds of block, the model:
the network of Ho et al. 2020 (arXiv:2006.11239), appendix B. Sizes halve on the way down, a middle
part follows, sizes double on the way up; each layer of the way up also sees what the layer at its
height on the way down made (a *skip*). The time embedding enters every residual block.

Attributes are named as in Diffusers' `UNet2DModel` and made in its order, so that the keys of
`state_dict`, the order of the parameters and the weights that a seed draws are the same. Dropout
draws in memory order: sums keep the order of their first term, and `contiguous` sets it, as there.

Letters: b images, c channels, h x w pixels, e the width of the time embedding.
"""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratch.compat import hub, not_built, saving, unet_checks
from scratch.compat.config import build_from_config, config_from_arguments

DownType = Literal["DownBlock2D", "AttnDownBlock2D"]
UpType = Literal["UpBlock2D", "AttnUpBlock2D"]
conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)


# region: timestep_embedding
def timestep_embedding(
    t: Tensor,
    dim: int,
    *,
    flip_sin_to_cos: bool = True,
    freq_shift: int = 0,
) -> Tensor:
    """Waves of t, fast to slow: every t has its own vector.

    With half = dim // 2 and i = 0 .. half - 1,
    angle_i = t * 10000 ** (-i / (half - freq_shift)), the sines
    of all angles and then the cosines, or the other way round.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    Two conventions: the code of Ho et al. 2020 has sines first
    and freq_shift=1, that of Nichol & Dhariwal 2021, the default
    here, cosines first and 0.

    Args:
        t: (b,) timesteps, integer or float.
        dim: length of a vector; an odd one ends in a zero.
        flip_sin_to_cos: cosines first.
        freq_shift: with 1 the slowest wave is t / 10000.

    Returns:
        (b, dim) float32 in [-1, 1], whatever the dtype of t.

    Raises:
        ValueError: freq_shift is not below dim // 2.

    >>> timestep_embedding(torch.tensor([0, 1]), 2)
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    half = dim // 2
    if freq_shift >= half:
        raise ValueError(
            f"freq_shift must be below dim // 2 = {half}, "
            f"got {freq_shift}: take 0 or 1, or a wider dim",
        )
    i = torch.arange(half, dtype=torch.float32, device=t.device)
    decay = -math.log(10000) * i / (half - freq_shift)
    angle = t[:, None].float() * decay.exp()  # (b, half)
    waves = [angle.sin(), angle.cos()]
    if flip_sin_to_cos:
        waves.reverse()
    embedding = torch.cat(waves, dim=1)  # (b, 2 * half)
    return F.pad(embedding, (0, dim % 2))  # (b, dim)


# endregion: timestep_embedding


class TimestepEmbedding(nn.Module):
    """What the blocks see of t: two linear layers on its waves."""

    def __init__(self, c_waves: int, c_emb: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(c_waves, c_emb)
        self.linear_2 = nn.Linear(c_emb, c_emb)

    def forward(self, waves: Tensor) -> Tensor:
        """Take waves (b, c) to the embedding (b, e)."""
        return self.linear_2(F.silu(self.linear_1(waves)))


class BlockOptions(NamedTuple):
    """What the blocks of one network share.

    Attributes:
        c_emb: e, the width of the time embedding.
        layers: residual blocks of a level on the way down; the way up has one more.
        groups: of each GroupNorm.
        eps: what GroupNorm adds to the variance.
        dropout: probability in each residual block, while training.
        scale_shift: how t acts in a residual block.
        head_dim: channels of an attention head; None for one head as wide as the level.
        padding: of `Downsample`.
    """

    c_emb: int
    layers: int
    groups: int
    eps: float
    dropout: float
    scale_shift: bool
    head_dim: int | None
    padding: Literal[0, 1]


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))).

    Two convolutions, each after GroupNorm and SiLU; t comes in
    between. With "scale_shift" it acts after the GroupNorm:
    norm(h) (1 + scale) + shift. Where the number of channels
    changes, a 1x1 convolution makes x fit.

    Sources: Ho et al. 2020 (arXiv:2006.11239), appendix B;
    GroupNorm: Wu & He 2018 (arXiv:1803.08494); scale_shift:
    Nichol & Dhariwal 2021 (arXiv:2102.09672), appendix A.
    """

    def __init__(self, c_in: int, c_out: int, options: BlockOptions) -> None:
        super().__init__()
        self.scale_shift = options.scale_shift
        c_time = 2 * c_out if self.scale_shift else c_out
        self.norm1 = nn.GroupNorm(options.groups, c_in, options.eps)
        self.conv1 = conv3x3(c_in, c_out)
        self.time_emb_proj = nn.Linear(options.c_emb, c_time)
        self.norm2 = nn.GroupNorm(options.groups, c_out, options.eps)
        self.dropout = nn.Dropout(options.dropout)
        self.conv2 = conv3x3(c_out, c_out)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    # region: residual_block
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Take (b, c_in, h, w) to (b, c_out, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        time = self.time_emb_proj(F.silu(emb))
        time = time[:, :, None, None]  # (b, c or 2c, 1, 1)
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + time)
        h = self.conv2(self.dropout(F.silu(h)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x.contiguous())
        return x + h

    # endregion: residual_block


class SelfAttention(nn.Module):
    """x + Attention(Q, K, V): every pixel looks at every other.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V, the softmax
    over the keys, in c // d heads of d channels each.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), equation 1,
    section 3.2.2; in the U-Net: Ho et al. 2020, appendix B.
    """

    def __init__(self, channels: int, head_dim: int | None, groups: int | None, eps: float) -> None:
        super().__init__()
        head_dim = head_dim or channels
        self.heads = channels // head_dim
        inner = self.heads * head_dim
        self.group_norm: nn.Module = nn.Identity()
        if groups is not None:
            self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q = nn.Linear(channels, inner)
        self.to_k = nn.Linear(channels, inner)
        self.to_v = nn.Linear(channels, inner)
        self.to_out = nn.Sequential(nn.Linear(inner, channels))

    # region: self_attention
    def forward(self, x: Tensor) -> Tensor:
        """Take (b, c, h, w) to (b, c, h, w)."""
        pixels = self.group_norm(x).flatten(2).mT  # (b, h*w, c)
        split = (self.heads, -1)
        q, k, v = (
            to(pixels).unflatten(2, split).transpose(1, 2)
            for to in (self.to_q, self.to_k, self.to_v)
        )  # (b, heads, h*w, d) each
        out = F.scaled_dot_product_attention(q, k, v)
        out = out.transpose(1, 2).flatten(2)  # (b, h*w, inner)
        out = self.to_out(out).mT  # (b, c, h*w)
        return out.unflatten(2, x.shape[2:]) + x

    # endregion: self_attention


class Downsample(nn.Module):
    """Halve h and w: a 3x3 window round every second pixel.

    An even image is padded on two sides only: above and left with
    padding=1, below and right with padding=0, as in the code of
    Ho et al. 2020.
    """

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.pad_below_and_right = padding == 0
        self.conv = conv3x3(channels, channels, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Take (b, c, h, w) to (b, c, h/2, w/2)."""
        if self.pad_below_and_right:
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Upsample(nn.Module):
    """Double h and w: each pixel four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Take (b, c, h, w) to (b, c, 2h, 2w)."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x)


class DownBlock(nn.Module):
    """A level on the way down: residual blocks, then downsampling.

    In an "AttnDownBlock2D" attention follows each residual block.
    What every layer makes is a skip to the way up.
    """

    def __init__(
        self, kind: DownType, c_in: int, c_out: int, halve: bool, options: BlockOptions
    ) -> None:
        super().__init__()
        head_dim, groups, eps = options.head_dim, options.groups, options.eps
        self.attentions, self.resnets = nn.ModuleList(), nn.ModuleList()
        for _ in range(options.layers):
            self.resnets.append(ResidualBlock(c_in, c_out, options))
            if kind == "AttnDownBlock2D":
                self.attentions.append(SelfAttention(c_out, head_dim, groups, eps))
            c_in = c_out
        self.downsamplers = nn.ModuleList()
        if halve:
            self.downsamplers.append(Downsample(c_out, options.padding))

    def forward(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Take (b, c_in, h, w) to the next level, and the skips."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, emb)
            if self.attentions:
                x = self.attentions[i](x)
            skips.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """The lowest resolution: residual, attention, residual.

    Each result is divided by `factor`; `groups` are those of the
    attention's GroupNorm, None for an attention without.
    """

    def __init__(
        self, channels: int, factor: float, attend: bool, groups: int | None, options: BlockOptions
    ) -> None:
        super().__init__()
        self.factor = factor
        self.attentions, self.resnets = nn.ModuleList(), nn.ModuleList()
        first = ResidualBlock(channels, channels, options)
        if attend:
            self.attentions.append(SelfAttention(channels, options.head_dim, groups, options.eps))
        second = ResidualBlock(channels, channels, options)
        self.resnets.extend([first, second])

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Take (b, c, h, w) to (b, c, h, w)."""
        x = self.resnets[0](x, emb) / self.factor
        for attention in self.attentions:
            x = attention(x) / self.factor
        return self.resnets[1](x, emb) / self.factor


class UpBlock(nn.Module):
    """A level on the way up: residual blocks, then upsampling.

    Each residual block also gets a skip, as further channels; one
    more of them than on the way down takes the skip of the
    downsampling (or of conv_in).
    """

    def __init__(
        self, kind: UpType, c_in: int, c_skips: list[int], c_out: int, options: BlockOptions
    ) -> None:
        super().__init__()
        head_dim, groups, eps = options.head_dim, options.groups, options.eps
        self.attentions, self.resnets = nn.ModuleList(), nn.ModuleList()
        for _ in range(options.layers + 1):
            self.resnets.append(ResidualBlock(c_in + c_skips.pop(), c_out, options))
            if kind == "AttnUpBlock2D":
                self.attentions.append(SelfAttention(c_out, head_dim, groups, eps))
            c_in = c_out
        self.upsamplers = nn.ModuleList()
        if c_skips:  # some are left for a higher resolution
            self.upsamplers.append(Upsample(c_out))

    def forward(self, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        """Take (b, c_in, h, w) to the next level; pops `skips`."""
        # region: up_block
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), emb)
            if self.attentions:
                x = self.attentions[i](x)
        for upsample in self.upsamplers:
            x = upsample(x)
        # endregion: up_block
        return x


class UNet2DOutput(NamedTuple):
    """What the network predicts: `sample`, (b, c, h, w)."""

    sample: Tensor


class UNet2DModel(nn.Module):
    """The network eps_theta(x_t, t) (or its x_0 or v), with the weights of Diffusers' class.

    Every level has `layers_per_block` layers on the way down and one more on the way up. The
    defaults are Diffusers'. The 32x32 network of the paper has widths (128, 256, 256, 256),
    attention in the second level, `downsample_padding=0`, `flip_sin_to_cos=False`, `freq_shift=1`,
    `attention_head_dim=None` and `norm_eps=1e-6`.

    Source: Ho et al. 2020 (arXiv:2006.11239), appendix B.

    Args:
        sample_size: h = w of the images, or (h, w), for the pipeline; the network itself takes any
            size that its levels can halve.
        in_channels: channels of x_t.
        out_channels: channels of the prediction.
        center_input_sample: take x_t in [0, 1] and stretch it to [-1, 1] first.
        freq_shift, flip_sin_to_cos: see `timestep_embedding`.
        down_block_types: per level, "DownBlock2D" or "AttnDownBlock2D".
        mid_block_type: "UNetMidBlock2D", or None for no middle part.
        up_block_types: per level, lowest resolution first, "UpBlock2D" or "AttnUpBlock2D".
        block_out_channels: width of each level, highest resolution first; each a multiple of
            `norm_num_groups`.
        layers_per_block: residual blocks of a level on the way down, at least 1.
        mid_block_scale_factor: divides the result of each middle layer, above 0.
        downsample_padding: 1, or 0 for below and right only; see `Downsample`.
        dropout: probability in [0, 1] in each residual block, while training.
        attention_head_dim: channels of a head; None for one head as wide as the level.
        norm_num_groups: groups of each GroupNorm.
        attn_norm_num_groups: groups of the middle attention's GroupNorm. None: `norm_num_groups`,
            or no GroupNorm there if `resnet_time_scale_shift` is "scale_shift".
        norm_eps: what GroupNorm adds to the variance.
        resnet_time_scale_shift: "default" or "scale_shift"; see `ResidualBlock`.
        add_attention: attention in the middle part.
        num_class_embeds: number of classes; None for a network without.

    Raises:
        ValueError: an argument is out of range, or two do not fit.

    Warns:
        UserWarning: a level has one channel per group, so that GroupNorm erases t there.

    >>> unet = UNet2DModel(
    ...     down_block_types=["DownBlock2D", "AttnDownBlock2D"],
    ...     up_block_types=["AttnUpBlock2D", "UpBlock2D"],
    ...     block_out_channels=[8, 16],
    ...     norm_num_groups=4,
    ... )
    >>> unet(torch.randn(5, 3, 16, 16), 7).sample.shape
    torch.Size([5, 3, 16, 16])
    """

    def __init__(
        self,
        *,
        sample_size: int | Sequence[int] | None = None,
        in_channels: int = 3,
        out_channels: int = 3,
        center_input_sample: bool = False,
        freq_shift: int = 0,
        flip_sin_to_cos: bool = True,
        down_block_types: Sequence[DownType] = ("DownBlock2D", *3 * ("AttnDownBlock2D",)),
        mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D",
        up_block_types: Sequence[UpType] = (*3 * ("AttnUpBlock2D",), "UpBlock2D"),
        block_out_channels: Sequence[int] = (224, 448, 672, 896),
        layers_per_block: int = 2,
        mid_block_scale_factor: float = 1,
        downsample_padding: Literal[0, 1] = 1,
        dropout: float = 0.0,
        attention_head_dim: int | None = 8,
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = None,
        norm_eps: float = 1e-5,
        resnet_time_scale_shift: Literal["default", "scale_shift"] = "default",
        add_attention: bool = True,
        num_class_embeds: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config_from_arguments(UNet2DModel, locals())
        unet_checks.check_arguments(self.config)
        unet_checks.warn_where_time_is_erased(self.config)
        first, last = block_out_channels[0], block_out_channels[-1]
        options = BlockOptions(
            c_emb=4 * first,
            layers=layers_per_block,
            groups=norm_num_groups,
            eps=norm_eps,
            dropout=dropout,
            scale_shift=resnet_time_scale_shift == "scale_shift",
            head_dim=attention_head_dim,
            padding=downsample_padding,
        )
        self.center_input_sample = center_input_sample
        self.waves = partial(
            timestep_embedding, dim=first, flip_sin_to_cos=flip_sin_to_cos, freq_shift=freq_shift
        )
        self.conv_in = conv3x3(in_channels, first)
        self.time_embedding = TimestepEmbedding(first, options.c_emb)
        self.class_embedding: nn.Embedding | None = None
        if num_class_embeds is not None:
            self.class_embedding = nn.Embedding(num_class_embeds, options.c_emb)
        # Listed here, filled below: the middle is made before the way up, but listed after it.
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        c_skips, c_in = [first], first
        for down, c_out in zip(down_block_types, block_out_channels, strict=True):
            halve = len(self.down_blocks) < len(block_out_channels) - 1
            self.down_blocks.append(DownBlock(down, c_in, c_out, halve, options))
            c_skips += [c_out] * (layers_per_block + halve)
            c_in = c_out
        self.mid_block: MidBlock | None = None
        if mid_block_type is not None:
            groups = attn_norm_num_groups or (None if options.scale_shift else norm_num_groups)
            self.mid_block = MidBlock(
                last, float(mid_block_scale_factor), add_attention, groups, options
            )
        for up, c_out in zip(up_block_types, reversed(block_out_channels), strict=True):
            self.up_blocks.append(UpBlock(up, c_in, c_skips, c_out, options))
            c_in = c_out
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, first, norm_eps)
        self.conv_out = conv3x3(first, out_channels)

    if not TYPE_CHECKING:  # a checker would take it that every name is there

        def __getattr__(self, name: str) -> Any:
            said = not_built.sentence(self, name)
            if said is not None:
                raise AttributeError(said, name=name, obj=self)
            return super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.conv_in.weight.dtype

    @overload
    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | int | None = ...,
        return_dict: Literal[True] = ...,
    ) -> UNet2DOutput: ...
    @overload
    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | int | None = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[Tensor]: ...
    @overload
    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | int | None = ...,
        return_dict: bool = ...,
    ) -> UNet2DOutput | tuple[Tensor]: ...

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | int | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict from x_t and t.

        Args:
            sample: x_t, (b, c, h, w) in the dtype of the weights.
            timestep: t in 0..T-1, one for all (a number, () or (1,)) or one per image (b,).
            class_labels: classes in 0..num_class_embeds-1, one for all (a number or ()) or one per
                image (b,); int64.
            return_dict: False for a plain tuple.

        Returns:
            An object with `sample`, (b, out_channels, h, w), or a tuple of that tensor.

        Raises:
            ValueError: `sample` has other channels, another dtype or a size that the levels cannot
                halve, there are more or fewer timesteps or labels than images, or labels are
                missing, unknown or not wanted.
        """
        t, labels = unet_checks.prepared(sample, timestep, class_labels, self.config, self.dtype)
        if self.center_input_sample:
            sample = 2 * sample - 1  # [0, 1] -> [-1, 1]
        emb = self.time_embedding(self.waves(t).to(self.dtype))  # (b, e)
        # region: class_label
        if self.class_embedding is not None:
            emb = emb + self.class_embedding(labels)
        # endregion: class_label

        # region: unet
        x = self.conv_in(sample)
        skips = [x]
        for down_block in self.down_blocks:
            x, new_skips = down_block(x, emb)
            skips += new_skips
        if self.mid_block is not None:
            x = self.mid_block(x, emb)
        for up_block in self.up_blocks:
            x = up_block(x, skips, emb)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        # endregion: unet
        return UNet2DOutput(x) if return_dict else (x,)

    if TYPE_CHECKING:  # of a call of any Module a checker knows nothing
        __call__ = forward

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **changes: Any) -> "UNet2DModel":
        """A network with fresh weights from a config, ours or Diffusers', with some changes."""
        return build_from_config(cls, config, changes)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        subfolder: str | None = None,
        torch_dtype: torch.dtype | None = None,
    ) -> "UNet2DModel":
        """A network in eval mode from a folder, or from a Hub repository by name.

        Args:
            pretrained_model_name_or_path: the folder or the repository.
            subfolder: of it, such as `unet`.
            torch_dtype: float dtype of the weights; None for float32.
        """
        return saving.load_model(cls, pretrained_model_name_or_path, subfolder, torch_dtype)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
    ) -> None:
        """Write `config.json` and the weights into a folder, as Diffusers does.

        Args:
            save_directory: the folder.
            push_to_hub: also into a repository on the Hub.
            repo_id: its name; None for that of the folder.
        """
        saving.save_model(self, save_directory)
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).name)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """`save_pretrained` into a repository on the Hub: `scratch.compat.hub.push`."""
        return hub.push(self.save_pretrained, repo_id, commit_message, private, token)

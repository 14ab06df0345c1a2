"""What `UNet2DModel` refuses, and says so before torch does it in its own words.

Nothing here reads a value that lies on an accelerator: that would wait for it, at every step.
"""

import math
import warnings
from typing import Any

import torch

from scratch.compat.config import Config
from scratch.compat.scheduler_checks import check_floats, is_number, require, whole_number

CHOICES: dict[str, tuple] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": ("UNetMidBlock2D", None),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    "downsample_padding": (0, 1),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}
SWITCHES = ("center_input_sample", "flip_sin_to_cos", "add_attention")
PER_LEVEL = ("down_block_types", "up_block_types", "block_out_channels")
COUNTS = ("in_channels", "out_channels", "layers_per_block", "norm_num_groups")
MOST_LAYERS, MOST_PIXELS = 1000, 2**20  # a side; a number beyond them is a slip, and takes hours
MOST_CHANNELS = 2**20  # and classes
LARGEST = 2**63  # past what an int64 holds
COUNTS_OR_NONE = ("attention_head_dim", "attn_norm_num_groups", "num_class_embeds")


def check_arguments(config: Config) -> None:
    """Refuse arguments that are out of range or do not fit together.

    Raises:
        ValueError: with the argument's name, what came and what was expected.
    """
    for name in PER_LEVEL:
        require(
            isinstance(config[name], tuple),
            f"{name} must hold one entry for each level, got {config[name]!r}",
        )
    _check_choices(config)
    _check_numbers(config)
    _check_widths(config)
    _check_head_dim(config)
    if config.sample_size is not None:
        size, levels = config.sample_size, len(config.block_out_channels)
        _check_size("sample_size", size if isinstance(size, tuple) else (size, size), levels)


def _check_choices(config: Config) -> None:
    for name, choices in CHOICES.items():
        given = config[name] if name.endswith("_types") else [config[name]]
        known = all(any(type(one) is type(c) and one == c for c in choices) for one in given)
        require(known, f"{name} must be of {choices}, got {config[name]!r}")
    for name in SWITCHES:
        require(
            isinstance(config[name], bool), f"{name} must be True or False, got {config[name]!r}"
        )


def _check_numbers(config: Config) -> None:
    for name in COUNTS + COUNTS_OR_NONE:
        kind = "a whole number of at least 1" + (" or None" if name in COUNTS_OR_NONE else "")
        may_be_none = name in COUNTS_OR_NONE and config[name] is None
        require(
            may_be_none or _at_least_1(config[name]), f"{name} must be {kind}, got {config[name]!r}"
        )
    for name in ("in_channels", "out_channels", "num_class_embeds"):
        require(
            (config[name] or 0) <= MOST_CHANNELS,
            f"{name} must be at most {MOST_CHANNELS}, got {config[name]}",
        )
    require(
        config.layers_per_block <= MOST_LAYERS,
        f"layers_per_block must be at most {MOST_LAYERS}, got {config.layers_per_block}",
    )
    for name in ("mid_block_scale_factor", "norm_eps"):
        require(
            is_number(config[name]) and 0 < config[name] < math.inf,
            f"{name} must be above 0, got {config[name]!r}",
        )
    require(
        is_number(config.dropout) and 0 <= config.dropout <= 1,
        f"dropout must lie between 0 and 1, got {config.dropout!r}",
    )


def _check_widths(config: Config) -> None:
    widths, groups = config.block_out_channels, config.norm_num_groups
    require(
        len(config.down_block_types) == len(config.up_block_types) == len(widths) > 0,
        "down_block_types, up_block_types and block_out_channels must have one entry per level, "
        f"got {len(config.down_block_types)}, {len(config.up_block_types)} and {len(widths)}",
    )
    require(
        all(_at_least_1(width) and width % groups == 0 for width in widths),
        f"block_out_channels must be multiples of norm_num_groups={groups}, got {widths}",
    )
    require(
        max(widths) <= MOST_CHANNELS,
        f"block_out_channels must be at most {MOST_CHANNELS}, got {widths}",
    )
    require(
        widths[-1] % (config.attn_norm_num_groups or 1) == 0,
        f"attn_norm_num_groups must divide the last of block_out_channels, {widths[-1]}, "
        f"got {config.attn_norm_num_groups}",
    )
    require(
        _is_whole(config.freq_shift) and config.freq_shift < widths[0] // 2,
        "freq_shift must be a whole number below half of the first of block_out_channels, "
        f"{widths[0] // 2}, got {config.freq_shift!r}: take 0 or 1",
    )


def _check_head_dim(config: Config) -> None:
    widths = config.block_out_channels
    levels = [
        *zip(config.down_block_types, widths, strict=True),
        *zip(config.up_block_types, reversed(widths), strict=True),
    ]
    attending = [width for kind, width in levels if kind.startswith("Attn")]
    if config.mid_block_type is not None and config.add_attention:
        attending.append(widths[-1])
    narrowest = min(attending, default=math.inf)
    require(
        (config.attention_head_dim or 1) <= narrowest,
        f"attention_head_dim must be at most the width of a level with attention, {narrowest}, "
        f"got {config.attention_head_dim}",
    )


def warn_where_time_is_erased(config: Config) -> None:
    """Warn of a level with one channel per group.

    A residual block adds one number per channel for the time, and GroupNorm then subtracts the
    mean of each group: of one channel, that number goes with it. With "scale_shift" the time comes
    after GroupNorm and stays.
    """
    widths, groups = config.block_out_channels, config.norm_num_groups
    if groups not in widths or config.resnet_time_scale_shift == "scale_shift":
        return
    fewer = max(g for g in range(1, groups // 4 + 2) if all(width % g == 0 for width in widths))
    warnings.warn(
        f"level {widths.index(groups)} of block_out_channels={widths} has one channel for each of "
        f"norm_num_groups={groups} groups, and GroupNorm erases the time embedding there: set "
        f"norm_num_groups={fewer}, or resnet_time_scale_shift='scale_shift'",
        stacklevel=3,
    )


def prepared(
    sample: torch.Tensor,
    timestep: torch.Tensor | float,
    labels: torch.Tensor | int | None,
    config: Config,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Check what a network is called with, and give every image its timestep and its label.

    Args:
        sample: x_t, (b, c, h, w).
        timestep: t, one for all or one for each image.
        labels: classes, one for all or one for each image; None without classes.
        config: the network's.
        dtype: of its weights.

    Returns:
        t and the labels, (b,) each on the device of `sample`; no labels without classes.

    Raises:
        ValueError: as `check_images`, `one_per_image` and `labels_per_image`.
    """
    check_images(sample, config, dtype)
    t = one_per_image("timestep", timestep, sample)
    return t, labels_per_image(labels, sample, config)


def check_images(sample: torch.Tensor, config: Config, dtype: torch.dtype) -> None:
    """Refuse images of other channels or another dtype, or of a size that cannot be halved.

    Args:
        sample: x_t.
        config: the network's.
        dtype: of its weights; under autocast any floats will do.

    Raises:
        ValueError: `sample` is not (b, in_channels, h, w), or h, w or the dtype does not fit.
    """
    check_floats("sample", sample)
    require(
        sample.ndim == 4 and sample.shape[1] == config.in_channels,
        f"sample must be (b, {config.in_channels}, h, w), got {tuple(sample.shape)}; the network's "
        "in_channels must be the channels of the images",
    )
    require(
        sample.dtype == dtype or torch.is_autocast_enabled(sample.device.type),
        f"sample is {sample.dtype}, but the network's weights are {dtype}; "
        "convert one with .to(dtype)",
    )
    _check_size("sample", sample.shape[2:], len(config.block_out_channels))


def one_per_image(
    name: str,
    value: torch.Tensor | float | None,
    sample: torch.Tensor,
    limit: int | None = None,
) -> torch.Tensor:
    """Give every image its timestep or its label.

    Args:
        name: what to call it in an error.
        value: a number, or a tensor of shape () or (b,); of a timestep (1,) too.
        sample: (b, c, h, w).
        limit: of labels, which are integers; those on the CPU must lie in 0..limit-1.

    Returns:
        (b,) on the device of `sample`.

    Raises:
        ValueError: there is none, or not one per image, or one is no label in the range.

    >>> one_per_image("timestep", 7, torch.zeros(2, 3, 8, 8))
    tensor([7, 7])
    """
    batch = sample.shape[0]
    if not isinstance(value, torch.Tensor):
        require(
            (isinstance(value, float) and math.isfinite(value)) or _is_int64(value),
            f"{name} must be a number or a tensor with one entry for each of {batch} images, "
            f"got {value!r}",
        )
        value = torch.tensor(value, device="cpu")
    one_for_all = "one entry" if limit is None else "no axis"  # a list of one label is too short
    require(
        value.shape in ((), (batch,)) or (limit is None and value.shape == (1,)),
        f"{name} must have {one_for_all}, or one for each of {batch} images, got "
        f"{tuple(value.shape)}",
    )
    if value.is_floating_point() and value.device.type == "cpu":
        require(bool(value.isfinite().all()), f"{name} must be finite, got {value.tolist()}")
    if limit is not None:
        require(
            value.dtype in (torch.int64, torch.int32), f"{name} must be int64, got {value.dtype}"
        )
    if limit is not None and value.device.type == "cpu":
        low, high = (bound.item() for bound in value.aminmax())
        require(0 <= low <= high < limit, f"{name} must be in 0..{limit - 1}, got {low}..{high}")
    if value.numel() == 1 and value.device.type == "cpu" != sample.device.type:
        # A copy would wait for the accelerator.
        return torch.full((batch,), value.item(), device=sample.device)
    return value.to(sample.device).expand(batch)


def labels_per_image(
    labels: torch.Tensor | int | None, sample: torch.Tensor, config: Config
) -> torch.Tensor | None:
    """Give every image its label: (b,) on the device of `sample`; None without classes.

    Raises:
        ValueError: labels are missing, unknown, not one per image, or not wanted.
    """
    if config.num_class_embeds is None:
        require(
            labels is None,
            "class_labels were given to a network without classes: set num_class_embeds, or leave "
            "them out",
        )
        return None
    return one_per_image("class_labels", labels, sample, limit=config.num_class_embeds)


def _check_size(name: str, size: tuple[Any, ...], levels: int) -> None:
    factor = 2 ** (levels - 1)
    require(
        not any(_is_whole(n) and n > MOST_PIXELS for n in size),
        f"{name} must have h and w of at most {MOST_PIXELS}, got {tuple(size)}",
    )
    require(
        len(size) == 2 and all(_at_least_1(n) and n % factor == 0 for n in size),
        f"{name} must have h and w in multiples of {factor} for {levels} levels, "
        f"got {tuple(size)}: pad or resize the images, or take fewer levels",
    )


def _at_least_1(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_int64(value: Any) -> bool:
    """True for a whole number that an int64 holds."""
    number = whole_number(value)
    return number is not None and -LARGEST <= number < LARGEST


def _is_whole(value: Any) -> bool:
    return whole_number(value) is not None

"""What the network refuses, and where it warns that time is erased."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from compare.backends.network import TINY
from scratch import UNet2DModel
from scratch.compat.unet_checks import one_per_image


def test_one_channel_per_group_is_warned_about_because_it_erases_time():
    options = {
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
        "block_out_channels": (8,),
        "layers_per_block": 1,
        "norm_num_groups": 8,
    }
    with pytest.warns(UserWarning, match=r"level 0 .* erases the time .* norm_num_groups=2,"):
        blind = UNet2DModel(**options).double().eval()
    sample = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    # What is left of the time is the rounding of float64 through the layers.
    assert_close(blind(sample, 0).sample, blind(sample, 999).sample, rtol=0, atol=1e-11)
    for change in ({"norm_num_groups": 2}, {"resnet_time_scale_shift": "scale_shift"}):
        seeing = UNet2DModel(**options | change).double().eval()
        difference = seeing(sample, 0).sample - seeing(sample, 999).sample
        assert difference.abs().max() > 1e-3 * seeing(sample, 0).sample.abs().max()


@settings(max_examples=30)
@given(groups=st.integers(2, 32), factors=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_the_groups_that_the_warning_proposes_are_not_warned_about(groups, factors):
    levels = len(factors)
    options = {
        "down_block_types": ("DownBlock2D",) * levels,
        "up_block_types": ("UpBlock2D",) * levels,
        "block_out_channels": tuple(groups * factor for factor in factors),
        "layers_per_block": 1,
        "mid_block_type": None,
    }
    with warnings.catch_warnings(record=True) as caught, torch.device("meta"):
        warnings.simplefilter("always")
        UNet2DModel(**options, norm_num_groups=groups)
        assert len(caught) == (1 in factors)
        for warning in caught:
            proposed = int(str(warning.message).split("set norm_num_groups=")[1].split(",")[0])
            level = int(str(warning.message).split()[1])
            assert factors[level] == 1
            caught.clear()
            UNet2DModel(**options, norm_num_groups=proposed)
            assert not caught


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"down_block_types": ("DownBlock2D", "SkipDownBlock2D")}, "down_block_types .*SkipDown"),
        ({"up_block_types": ("UpBlock2D", "DownBlock2D")}, "up_block_types .*'DownBlock2D'"),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, "mid_block_type .*CrossAttn"),
        ({"resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift .*'spatial'"),
        ({"downsample_padding": 2}, r"downsample_padding .*\(0, 1\), got 2"),
        ({"block_out_channels": (8, 16, 16)}, "one entry per level, got 2, 2 and 3"),
        (
            {"down_block_types": (), "up_block_types": (), "block_out_channels": ()},
            "one entry per level, got 0, 0 and 0",
        ),
        ({"in_channels": 0}, "in_channels must be a whole number of at least 1, got 0"),
        ({"out_channels": None}, "out_channels must be a whole number of at least 1, got None"),
        ({"layers_per_block": 1.5}, "layers_per_block must be a whole number .* got 1.5"),
        ({"norm_num_groups": 0}, "norm_num_groups must be a whole number of at least 1, got 0"),
        ({"num_class_embeds": 0}, "num_class_embeds must be .* at least 1 or None, got 0"),
        ({"attention_head_dim": 0}, "attention_head_dim must be .* at least 1 or None, got 0"),
        ({"attention_head_dim": 17}, "attention_head_dim must be at most .* 16, got 17"),
        ({"norm_num_groups": 3}, r"multiples of norm_num_groups=3, got \(8, 16\)"),
        ({"block_out_channels": (-8, 16)}, r"block_out_channels .*got \(-8, 16\)"),
        ({"attn_norm_num_groups": 5}, "attn_norm_num_groups must divide .* 16, got 5"),
        ({"mid_block_scale_factor": 0}, "mid_block_scale_factor must be above 0, got 0"),
        ({"norm_eps": -1e-5}, "norm_eps must be above 0, got -1e-05"),
        ({"norm_eps": math.nan}, "norm_eps must be above 0, got nan"),
        ({"norm_eps": True}, "norm_eps must be above 0, got True"),
        ({"dropout": True}, "dropout must lie between 0 and 1, got True"),
        ({"layers_per_block": 10**8}, "layers_per_block must be at most 1000, got 100000000"),
        ({"sample_size": 10**20}, "sample_size must have h and w of at most 1048576, got"),
        ({"add_attention": "no"}, "add_attention must be True or False, got 'no'"),
        ({"dropout": 1.5}, "dropout .*between 0 and 1.* 1.5"),
        ({"dropout": "0"}, "dropout must lie between 0 and 1, got '0'"),
        ({"block_out_channels": 8}, "block_out_channels must hold one entry for each level, got 8"),
        ({"down_block_types": "DownBlock2D"}, "down_block_types must hold one entry for each lev"),
        ({"freq_shift": 4}, "freq_shift must be a whole number below .* 4, got 4: take 0 or 1"),
        ({"freq_shift": None}, "freq_shift must be a whole number below .* got None"),
        ({"sample_size": 9}, r"sample_size .*multiples of 2 .*got \(9, 9\)"),
        ({"sample_size": (8, 7)}, r"sample_size .*multiples of 2 .*got \(8, 7\)"),
        ({"sample_size": (8, 8, 8)}, "sample_size must have h and w"),
        ({"sample_size": 0}, r"sample_size .*got \(0, 0\)"),
    ],
)
def test_constructor_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        UNet2DModel(**TINY | options)


@pytest.mark.parametrize(
    ("kinds", "narrowest"),
    [
        ({"down_block_types": ("AttnDownBlock2D", "DownBlock2D")}, 8),
        ({"up_block_types": ("UpBlock2D", "AttnUpBlock2D")}, 8),
        ({"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "mid_block_type": None}, 16),
        ({"up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "add_attention": False}, 16),
        ({}, 16),  # the middle part's
        ({"mid_block_type": None}, math.inf),
        ({"add_attention": False}, math.inf),
    ],
)
def test_a_head_is_no_wider_than_any_level_with_attention(kinds, narrowest):
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    for head_dim in (8, 9, 16, 17):
        options = TINY | plain | kinds | {"attention_head_dim": head_dim}
        if head_dim <= narrowest:
            assert UNet2DModel(**options)(torch.zeros(1, 3, 8, 8), 0).sample.isfinite().all()
        else:
            message = f"attention_head_dim .* level with attention, {narrowest}, got {head_dim}"
            with pytest.raises(ValueError, match=message):
                UNet2DModel(**options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": torch.zeros(2, 1, 8, 8)}, r"sample must be \(b, 3, h, w\), got \(2, 1, 8, 8\)"),
        ({"sample": torch.zeros(3, 8, 8)}, r"sample must be \(b, 3, h, w\), got \(3, 8, 8\)"),
        ({"sample": torch.zeros(2, 3, 8, 9)}, r"multiples of 2 for 2 levels, got \(8, 9\): pad"),
        ({"sample": torch.zeros(2, 3, 0, 8)}, r"multiples of 2 .*got \(0, 8\)"),
        ({"timestep": torch.arange(3)}, r"timestep .*each of 2 images, got \(3,\)"),
        ({"timestep": torch.zeros(2, 1)}, r"timestep .*each of 2 images, got \(2, 1\)"),
        ({"sample": torch.zeros(2, 3, 8, 8).long()}, r"sample must be .* floats, got .*int64"),
        ({"sample": torch.zeros(2, 3, 8, 8).numpy()}, "sample must be .* floats, got ndarray"),
        (
            {"sample": torch.zeros(2, 3, 8, 8).double()},
            r"sample is torch.float64, .* torch.float32",
        ),
        ({"timestep": None}, "timestep must be a number or .* each of 2 images, got None"),
        ({"timestep": "7"}, "timestep must be a number or a tensor .* got '7'"),
        ({"timestep": math.nan}, "timestep must be a number or a tensor .* got nan"),
        ({"timestep": torch.tensor([1.0, math.inf])}, r"timestep must be finite, got \[1.0, inf\]"),
        ({"timestep": 10**20}, "timestep must be a number or .* each of 2 images, got 100000000"),
        ({"timestep": -(2**63) - 1}, "timestep must be a number or .* got -9223372036854775809"),
        ({"class_labels": 2**63}, "class_labels must be a number or .* got 9223372036854775808"),
        ({"class_labels": None}, "class_labels must be a number or .* each of 2 images, got None"),
        ({"class_labels": torch.zeros(2)}, "class_labels must be int64, got torch.float32"),
        ({"class_labels": 1.0}, "class_labels must be int64, got torch.float32"),
        ({"class_labels": torch.zeros(3).long()}, r"class_labels .*each of 2 images, got \(3,\)"),
        ({"class_labels": torch.tensor([1])}, r"must have no axis, or one for each .* got \(1,\)"),
        ({"class_labels": torch.tensor([0, 5])}, r"class_labels must be in 0\.\.4, got 0\.\.5"),
        ({"class_labels": torch.tensor([-1, 0])}, r"class_labels must be in 0\.\.4, got -1\.\.0"),
        ({"class_labels": 5}, r"class_labels must be in 0\.\.4, got 5\.\.5"),
    ],
)
def test_call_refuses(changes, message):
    unet = UNet2DModel(**TINY, num_class_embeds=5)
    right = {"sample": torch.zeros(2, 3, 8, 8), "timestep": 0, "class_labels": torch.arange(2)}
    assert unet(**right).sample.shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match=message):
        unet(**right | changes)


@pytest.mark.parametrize("value", [3, torch.tensor(3), torch.tensor([3])])
def test_one_value_from_the_cpu_serves_images_elsewhere(value):
    images = torch.empty(2, 3, 8, 8, device="meta")
    each = one_per_image("timestep", value, images)
    assert (each.shape, each.device.type) == ((2,), "meta")
    if getattr(value, "shape", ()) == ():
        each = one_per_image("class_labels", value, images, limit=5)
        assert (each.shape, each.device.type) == ((2,), "meta")


def test_autocast_takes_images_of_another_dtype():
    unet = UNet2DModel(**TINY)
    with torch.autocast("cpu", torch.bfloat16):
        assert unet(torch.zeros(2, 3, 8, 8, dtype=torch.float16), 0).sample.dtype == torch.bfloat16


def test_call_refuses_labels_without_classes():
    with pytest.raises(ValueError, match="class_labels were given to a network without classes"):
        UNet2DModel(**TINY)(torch.zeros(3, 3, 8, 8), 0, class_labels=torch.zeros(3).long())

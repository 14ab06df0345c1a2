"""Pixels of 0 to 255 as images in [-1, 1], and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from workbench import pixels
from workbench.pixels import from_levels, from_uint8, to_uint8


def test_every_grey_level_survives_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = from_uint8(levels)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert images.max() == 1
    np.testing.assert_array_equal(to_uint8(images), levels)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=4, max_dims=4, max_side=4)))
def test_codec_moves_the_channels(levels):
    images = from_uint8(levels)
    n, h, w, c = levels.shape
    assert images.shape == (n, c, h, w)
    assert images.is_contiguous()
    np.testing.assert_array_equal(to_uint8(images), levels)


@given(st.floats(-3, 3, width=32))
def test_to_uint8_rounds_to_the_nearest_level_and_clamps(value):
    level = int(to_uint8(torch.full((1, 1, 1, 1), value)).item())
    exact = min(max((value + 1) / 2, 0), 1) * 255
    # float32 rounds (value + 1) / 2 * 255 three times: at most 3 * 2^-24 * 255 off
    assert abs(level - exact) <= 0.5 + 3 * 2**-24 * 255


def test_to_uint8_takes_half_precision_and_gradients():
    images = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).to(torch.bfloat16).requires_grad_()
    assert to_uint8(images).ravel().tolist() == [0, 255]


def test_to_uint8_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.full((1, 1, 2, 2), torch.nan))


def test_from_uint8_takes_an_array_that_cannot_be_written_to():
    levels = np.zeros((2, 4, 4, 3), np.uint8)
    levels.flags.writeable = False
    np.testing.assert_array_equal(to_uint8(from_uint8(levels)), levels)


def test_a_level_is_the_same_image_by_arithmetic_and_by_the_table_of_a_device():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    table = pixels.image_of_each_level(torch.device("cpu"))
    assert torch.equal(from_levels(levels).flatten(), table)
    images = from_levels(levels)
    assert from_levels(images) is images


@pytest.mark.gpu
def test_a_level_is_the_same_image_on_a_gpu():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(from_levels(levels.cuda()).cpu(), from_levels(levels))

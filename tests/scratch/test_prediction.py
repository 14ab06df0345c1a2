"""The three things that a network may predict, and what is done to the x_0 that follows."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from scratch import DDPMScheduler
from scratch.forward import add_noise, velocity
from scratch.prediction import clip_x_0, predict_eps, predict_x_0

X_0, EPS = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
SAID = {
    "epsilon": lambda alpha_bar: EPS,
    "sample": lambda alpha_bar: X_0,
    "v_prediction": lambda alpha_bar: velocity(X_0, EPS, alpha_bar),
}


@pytest.mark.parametrize("prediction_type", SAID)
@given(alpha_bar=st.floats(1e-4, 1 - 1e-4))
def test_each_prediction_gives_back_image_and_noise(prediction_type, alpha_bar) -> None:
    config = DDPMScheduler(prediction_type=prediction_type).config
    x_t, output = add_noise(X_0, EPS, alpha_bar), SAID[prediction_type](alpha_bar)
    # Division by sqrt(alpha_bar) or sqrt(1 - alpha_bar), 0.01 at least, grows roundings of 1e-16.
    assert_close(predict_x_0(config, output, x_t, alpha_bar), X_0, rtol=0, atol=1e-12)
    assert_close(predict_eps(config, output, x_t, alpha_bar), EPS, rtol=0, atol=1e-12)


def test_an_output_means_another_image_under_each_prediction() -> None:
    x_t = add_noise(X_0, EPS, 0.3)
    meant = [predict_x_0(DDPMScheduler(prediction_type=p).config, EPS, x_t, 0.3) for p in SAID]
    for a, b in product(range(3), range(3)):
        assert a == b or (meant[a] - meant[b]).abs().mean() > 0.1


def test_clipping_thresholding_and_neither() -> None:
    x_0 = torch.tensor([[[[-3.0, -0.5, 0.5, 3.0]]], [[[-0.9, -0.5, 0.5, 0.9]]]])  # (2, 1, 1, 4)

    def clipped(**options) -> list:
        return clip_x_0(DDPMScheduler(**options).config, x_0)[:, 0, 0].tolist()

    inside = [-0.9, -0.5, 0.5, 0.9]
    as_given = pytest.approx  # float32 lists
    assert clipped(clip_sample=False) == [as_given([-3, -0.5, 0.5, 3]), as_given(inside)]
    assert clipped() == [as_given([-1, -0.5, 0.5, 1]), as_given(inside)]
    assert clipped(clip_sample_range=2.0) == [as_given([-2, -0.5, 0.5, 2]), as_given(inside)]
    # Dynamic thresholding goes first: each image is clipped to its own quantile and divided by it.
    halved = clipped(thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=3.0)
    assert halved == [as_given([-1, -1 / 6, 1 / 6, 1]), as_given(inside)]

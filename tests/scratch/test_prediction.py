"""The three things that a network may predict."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from scratch.forward import add_noise, velocity
from scratch.prediction import predict_eps, predict_x_0

X_0, EPS = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
SAID = {
    "epsilon": lambda alpha_bar: EPS,
    "sample": lambda alpha_bar: X_0,
    "v_prediction": lambda alpha_bar: velocity(X_0, EPS, alpha_bar),
}


@pytest.mark.parametrize("prediction_type", SAID)
@given(alpha_bar=st.floats(1e-4, 1 - 1e-4))
def test_each_prediction_gives_back_image_and_noise(prediction_type, alpha_bar) -> None:
    x_t, output = add_noise(X_0, EPS, alpha_bar), SAID[prediction_type](alpha_bar)
    # Division by sqrt(alpha_bar) or sqrt(1 - alpha_bar), 0.01 at least, grows roundings of 1e-16.
    assert_close(predict_x_0(prediction_type, output, x_t, alpha_bar), X_0, rtol=0, atol=1e-12)
    assert_close(predict_eps(prediction_type, output, x_t, alpha_bar), EPS, rtol=0, atol=1e-12)


def test_an_output_means_another_image_under_each_prediction() -> None:
    x_t = add_noise(X_0, EPS, 0.3)
    meant = [predict_x_0(prediction_type, EPS, x_t, 0.3) for prediction_type in SAID]
    for a, b in product(range(3), range(3)):
        assert a == b or (meant[a] - meant[b]).abs().mean() > 0.1

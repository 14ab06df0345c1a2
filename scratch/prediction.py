"""What the network's output says about x_0 and eps."""

from typing import Literal

import torch

from scratch import reverse

PredictionType = Literal["epsilon", "sample", "v_prediction"]


def predict_x_0(
    prediction_type: PredictionType,
    model_output: torch.Tensor,
    x_t: torch.Tensor,
    alpha_bar: float,
) -> torch.Tensor:
    """The x_0 behind x_t.

    Args:
        prediction_type: what `model_output` is: eps, x_0 (`sample`) or v.
        model_output: eps, x_0 or v, (b, c, h, w) float.
        x_t: noisy image, like `model_output`.
        alpha_bar: at this timestep, in [0, 1); above 0 for eps.

    Returns:
        x_0: like `x_t`, not clipped.

    >>> predict_x_0("epsilon", torch.ones(1), torch.ones(1), 0.36)
    tensor([0.3333])
    """
    if prediction_type == "epsilon":
        return reverse.x_0_from_eps(x_t, model_output, alpha_bar)
    if prediction_type == "v_prediction":
        return reverse.x_0_from_v(x_t, model_output, alpha_bar)
    return model_output


def predict_eps(
    prediction_type: PredictionType,
    model_output: torch.Tensor,
    x_t: torch.Tensor,
    alpha_bar: float,
) -> torch.Tensor:
    """The noise in x_t; arguments as `predict_x_0`.

    Returns:
        eps: like `x_t`.

    >>> predict_eps("sample", torch.ones(1), torch.ones(1), 0.36)
    tensor([0.5000])
    """
    if prediction_type == "sample":
        return reverse.eps_from_x_0(x_t, model_output, alpha_bar)
    if prediction_type == "v_prediction":
        return reverse.eps_from_v(x_t, model_output, alpha_bar)
    return model_output

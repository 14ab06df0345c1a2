"""What the network's output says about x_0 and eps, by the config of a scheduler."""

import torch

from scratch import reverse
from scratch.config import Config


def predict_x_0(
    config: Config, model_output: torch.Tensor, x_t: torch.Tensor, alpha_bar: float
) -> torch.Tensor:
    """The x_0 behind x_t.

    Args:
        config: its `prediction_type` says what `model_output` is.
        model_output: eps, x_0 or v, (b, c, h, w) float.
        x_t: noisy image, like `model_output`.
        alpha_bar: at this timestep, in [0, 1); above 0 for eps.

    Returns:
        x_0: like `x_t`, not clipped.
    """
    if config.prediction_type == "epsilon":
        return reverse.x_0_from_eps(x_t, model_output, alpha_bar)
    if config.prediction_type == "v_prediction":
        return reverse.x_0_from_v(x_t, model_output, alpha_bar)
    return model_output


def predict_eps(
    config: Config, model_output: torch.Tensor, x_t: torch.Tensor, alpha_bar: float
) -> torch.Tensor:
    """The noise in x_t; arguments as `predict_x_0`.

    Returns:
        eps: like `x_t`.
    """
    if config.prediction_type == "sample":
        return reverse.eps_from_x_0(x_t, model_output, alpha_bar)
    if config.prediction_type == "v_prediction":
        return reverse.eps_from_v(x_t, model_output, alpha_bar)
    return model_output


def clip_x_0(config: Config, x_0: torch.Tensor) -> torch.Tensor:
    """Keep the prediction of x_0 in the range of images, if the config says so.

    Args:
        config: `thresholding` goes before `clip_sample`.
        x_0: (b, c, h, w) float.

    Returns:
        x_0: like the input.
    """
    if config.thresholding:
        ratio, max_value = config.dynamic_thresholding_ratio, config.sample_max_value
        return reverse.dynamic_threshold(x_0, ratio, max_value)
    if config.clip_sample:
        return x_0.clamp(-config.clip_sample_range, config.clip_sample_range)
    return x_0

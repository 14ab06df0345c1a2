"""openai/guided-diffusion: functions that are given the model, options by enumerations."""

import os
import sys

import torch

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from guided_diffusion.gaussian_diffusion import (
    GaussianDiffusion,
    LossType,
    ModelMeanType,
    ModelVarType,
    get_named_beta_schedule,
)

KINDS = {"epsilon": ModelMeanType.EPSILON, "sample": ModelMeanType.START_X}
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
VARIANCES = ("fixed_small", "fixed_large", "learned_range")


def options(betas, prediction_type="epsilon", variance_type="fixed_small"):
    """The keywords of its classes."""
    return {
        "betas": betas,
        "model_mean_type": KINDS[prediction_type],
        "model_var_type": ModelVarType[variance_type.upper()],
        "loss_type": LossType.MSE,
    }


def adapted(prediction_type="epsilon", beta_schedule="linear", variance_type="fixed_small"):
    """Its options that have a usual name, T = 1000."""
    if not (prediction_type in KINDS and beta_schedule in SCHEDULES and variance_type in VARIANCES):
        raise ValueError("there is no such option")
    betas = get_named_beta_schedule(SCHEDULES[beta_schedule], 1000)
    whole = GaussianDiffusion(**options(betas, prediction_type, variance_type))

    def loss(model, x_0):
        return whole.training_losses(model, x_0, torch.randint(0, 1000, (len(x_0),)))["loss"]

    return Adapter(
        alpha_bar=lambda: torch.tensor(whole.alphas_cumprod),
        add_noise=lambda x_0, noise, t: whole.q_sample(x_0, t, noise),
        step=lambda out, t, x: whole.p_sample(as_network(out), x, torch.full((len(x),), t)),
        sample=lambda model, shape: whole.p_sample_loop(model, shape, device="cpu"),
        loss=None if variance_type == "learned_range" else loss,
        prediction_type=prediction_type,
    )

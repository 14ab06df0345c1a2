"""The module of lorisdanjou/AromeDownscaling-ddpm-pytorch, unconditional, linear betas, l2."""

import os
import runpy

import torch

from compare import Adapter, as_network

GaussianDiffusion = runpy.run_path(
    f"{os.environ['FIELD_CHECKOUT']}/model/ddpm_modules/diffusion.py"
)["GaussianDiffusion"]
SCHEDULE = {"schedule": "linear", "n_timestep": 1000, "linear_start": 1e-4, "linear_end": 2e-2}


def made(model, shape=(1, 1, 8, 8)):
    """The module as model/model.py sets it up."""
    diffusion = GaussianDiffusion(model, shape[-1], shape[1], "l2", conditional=False)
    diffusion.set_loss("cpu")
    diffusion.set_new_noise_schedule(SCHEDULE, "cpu")
    return diffusion


adapted = Adapter(
    alpha_bar=lambda: made(None).alphas_cumprod,
    add_noise=lambda x_0, noise, t: made(None).q_sample(x_0, t, noise),
    step=lambda out, t, x: made(as_network(out)).p_sample(x, torch.full((len(x),), t)),
    sample=lambda model, shape: made(model, shape).sample(shape[0]),
    loss=lambda model, x_0: made(model)({"HR": x_0}) / x_0.numel(),  # as in model/model.py
)

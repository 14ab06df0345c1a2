"""The module of AymanAtiia/vae-ddpm-pytorch, with another network in the place of its own."""

import os
import runpy

import torch
from torch.nn.functional import mse_loss

from compare import Adapter, as_network

diffusion = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/DDPM/model.py")["DDPM"]()


def made(model):
    """The module round this network."""
    diffusion.model = model
    return diffusion


adapted = Adapter(
    alpha_bar=lambda: diffusion.alpha_cumprod,
    add_noise=lambda x_0, noise, t: diffusion.q_sample(x_0, t, noise),
    step=lambda out, t, x: made(as_network(out)).p_sample(x, torch.full((len(x),), t)),
    sample=lambda model, shape: made(model).p_sample_loop(shape, "cpu"),
    loss=lambda model, x_0: mse_loss(*made(model)(x_0, torch.randint(0, 1000, (len(x_0),)))),
)

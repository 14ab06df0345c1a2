"""The functions of Zanteni/ddpm-from-scratch: a loop, a loss and tables that are passed along."""

import os

import torch

import ddpm
from compare import Adapter

ddpm.__path__.append(f"{os.environ['FIELD_CHECKOUT']}/src/ddpm")  # the package has our name
from ddpm.diffusion import losses, sampler, schedules  # noqa: E402

T = 1000
tables = schedules.get_diffusion_constants(schedules.get_beta_schedule("linear", T))
LOOP = [tables[name] for name in ("betas", "alphas", "alphas_cumprod", "posterior_variance")]
LOSS = [tables[f"sqrt_{name}alphas_cumprod"] for name in ("", "one_minus_")]

adapted = Adapter(
    alpha_bar=lambda: tables["alphas_cumprod"],
    sample=lambda model, shape: sampler.sample(model, shape, T, *LOOP),
    loss=lambda model, x_0: losses.compute_loss(
        model, x_0, torch.randint(0, T, (len(x_0),)), *LOSS
    ),
)

"""The loop and the loss of ermongroup/ddim, by the DDIM's authors: eta 0, 50 steps."""

import os
import sys

import torch

from compare import Adapter

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from functions.denoising import generalized_steps
from functions.losses import noise_estimation_loss

T = 1000
betas = torch.linspace(1e-4, 0.02, T)


def loss(model, x_0):
    """With t in pairs, as runners/diffusion.py draws it."""
    t = torch.randint(0, T, (len(x_0) // 2 + 1,))
    t = torch.cat([t, T - t - 1])[: len(x_0)]
    return noise_estimation_loss(model, x_0, t, torch.randn_like(x_0), betas)


adapted = Adapter(
    alpha_bar=lambda: (1 - betas).cumprod(0),
    sample=lambda model, shape: generalized_steps(
        torch.randn(shape), range(0, T, 20), model, betas, eta=0.0
    )[0][-1],
    loss=loss,
)

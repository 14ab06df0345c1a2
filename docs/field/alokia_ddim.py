"""The DDIM sampler of Alokia/diffusion-DDIM-pytorch, in 100 steps, as its generate.py asks."""

import os
import runpy

import torch

from compare import Adapter, as_network

DDIMSampler = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/utils/engine.py")["DDIMSampler"]


def made(model):
    """The sampler round this network."""
    return DDIMSampler(model, (1e-4, 0.02), 1000)


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alpha_t_bar,
    sample=lambda model, shape: made(model)(torch.randn(shape), steps=100),
)

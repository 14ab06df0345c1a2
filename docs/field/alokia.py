"""The DDPM sampler and trainer of Alokia/diffusion-DDIM-pytorch."""

import os
import runpy

import torch

from compare import Adapter, as_network

engine = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/utils/engine.py")
SETTING = {"beta": (1e-4, 0.02), "T": 1000}


def made(model):
    """The sampler round this network."""
    return engine["DDPMSampler"](model, **SETTING)


adapted = Adapter(
    step=lambda out, t, x: made(as_network(out)).sample_one_step(x, t),
    sample=lambda model, shape: made(model)(torch.randn(shape)),
    loss=lambda model, x_0: engine["GaussianDiffusionTrainer"](model, **SETTING)(x_0),
)

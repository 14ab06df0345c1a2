"""The module of LudoRey/minDiffusion without a condition: T + 1 levels, t / T, a loss on x_0."""

import os
import runpy

import torch

from compare import Adapter, as_network

cDM = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/models/diffusion.py")["cDM"]


def seed():
    """One for its own generator."""
    return int(torch.randint(2**31, ()))


def sample(model, shape, steps=1000):
    """Its condition has no channels."""
    none, noise = torch.zeros(shape[0], 0, *shape[2:]), torch.randn(shape)
    return cDM(model, "eps", "uniform").sample(none, steps, seed=seed(), y_T=noise)


adapted = Adapter(
    alpha_bar=lambda: cDM(as_network(), "eps", "uniform").gamma,
    sample=lambda model, shape: sample(model, shape),
    loss=lambda model, x_0: cDM(model, "eps", "uniform")(x_0, x_0[:, :0], seed()),
)

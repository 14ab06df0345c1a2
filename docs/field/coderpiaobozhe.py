"""The guided loop and the loss of coderpiaobozhe/classifier-free-diffusion-guidance-Pytorch."""

import os
import runpy
import sys

import torch

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
GaussianDiffusion = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/diffusion.py")[
    "GaussianDiffusion"
]
betas = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/utils.py")["get_named_beta_schedule"]()
# Its rank is divided by the number of GPUs; this one leaves a remainder by none.
GaussianDiffusion.sample.__globals__["get_rank"] = lambda: "%s"


def made(model):
    """The module round this network, as its arguments have it by default."""
    return GaussianDiffusion(torch.float32, model, betas, 1.8, 0.3, torch.device("cpu"))


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphas_bar,
    sample=lambda model, shape: made(model).sample(shape, cemb=torch.ones(shape[0], 10)),
    loss=lambda model, x_0: made(model).trainloss(x_0, cemb=torch.ones(len(x_0), 10)),
)

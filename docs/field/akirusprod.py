"""The DDPM loop of AkiRusProd/numpy-diffusion, in NumPy."""

import os
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import torch

from compare import Adapter

FOLDER = f"{os.environ['FIELD_CHECKOUT']}/diffusion"
sys.path.insert(0, FOLDER)  # it takes its parent
sys.modules["cupy"] = SimpleNamespace(asnumpy=np.asarray)
Diffusion = runpy.run_path(f"{FOLDER}/diffusion.py")["Diffusion"]


def made(model):
    """The class round a network of torch."""

    def forward(x, t, training):
        return model(torch.tensor(x).float(), torch.tensor(t)).numpy()

    return Diffusion(1000, 1e-4, 0.02, None, None, SimpleNamespace(forward=forward))


adapted = Adapter(
    alpha_bar=lambda: torch.tensor(made(None).alphas_cumprod),
    sample=lambda model, shape: torch.tensor(
        made(model).ddpm_denoise_sample(shape[0], shape[1:])[0]
    ),
)

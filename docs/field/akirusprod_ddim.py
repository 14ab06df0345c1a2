"""The DDIM loop of AkiRusProd/numpy-diffusion over its whole list, eta 1 as by default."""

import torch
from akirusprod import made

from compare import Adapter

adapted = Adapter(
    alpha_bar=lambda: torch.tensor(made(None).alphas_cumprod),
    sample=lambda model, shape: torch.tensor(
        made(model).ddim_denoise_sample(shape[0], shape[1:], perform_steps=999)[0]
    ),
)

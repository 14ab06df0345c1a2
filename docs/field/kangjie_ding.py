"""The DDPM loop and the loss of kangjie-ding/DDIM-Pytorch; t counts from 1."""

import os
import sys
from unittest.mock import MagicMock

import torch

from compare import Adapter

sys.modules["torchinfo"] = MagicMock()
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from models.diffusion import GaussianDiffusion  # noqa: E402

diffusion = GaussianDiffusion("cpu")

adapted = Adapter(
    alpha_bar=lambda: diffusion.cumprod_alpha_schedule,
    sample=lambda model, shape: diffusion.ddpm_fashion_sample(
        model, shape[-1], shape[1], batch_size=shape[0]
    ),
    loss=lambda model, x_0: diffusion.get_train_loss(  # t as train_process.py draws it
        model, x_0, torch.randint(1, 1000, (len(x_0), 1))
    ),
)

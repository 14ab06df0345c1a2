"""The class of dome272/Diffusion-Models-pytorch, with the three lines of its training script."""

import os
import runpy
import sys
from unittest.mock import MagicMock, patch

from torch.nn.functional import mse_loss

from compare import Adapter

NOT_NEEDED = ("torchvision", "torch.utils.tensorboard")
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, dict.fromkeys(NOT_NEEDED, MagicMock())):
    Diffusion = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/ddpm.py")["Diffusion"]
diffusion = Diffusion(img_size=8, device="cpu")


def loss(model, x_0):
    """As `train` computes it."""
    t = diffusion.sample_timesteps(len(x_0))
    x_t, noise = diffusion.noise_images(x_0, t)
    return mse_loss(noise, model(x_t, t))


adapted = Adapter(
    alpha_bar=lambda: diffusion.alpha_hat,
    sample=lambda model, shape: diffusion.sample(model, shape[0]),
    loss=loss,
)

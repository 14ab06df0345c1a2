"""The class of imraunav/DDPM-from-scratch, and the loss as its train.py writes it."""

import os
import runpy

from torch.nn.functional import mse_loss

from compare import Adapter

Diffusion = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/ddpm.py")["Diffusion"]
diffusion = Diffusion()


def loss(model, x_0):
    """As in train.py."""
    t = diffusion.sample_timesteps(len(x_0))
    x_t, noise = diffusion.noise_image(x_0, t)
    return mse_loss(noise, model(x_t, t))


adapted = Adapter(
    alpha_bar=lambda: diffusion.alpha_hat,
    add_noise=lambda x, t: diffusion.noise_image(x, t),
    sample=lambda model, shape: Diffusion(img_size=shape[-1], channel=shape[1]).sample(
        model, shape[0]
    ),
    loss=loss,
)

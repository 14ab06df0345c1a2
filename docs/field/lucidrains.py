"""The module of lucidrains/denoising-diffusion-pytorch with its defaults: v, sigmoid, T steps."""

import os
import sys
from unittest.mock import MagicMock, patch

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, {"torchvision": MagicMock()}):
    from denoising_diffusion_pytorch import GaussianDiffusion


def made(model, **options):
    """The module round this network."""
    model.self_condition, model.out_dim = False, model.channels
    return GaussianDiffusion(model, image_size=8, **options).eval()


def adapt(**options):
    """Pictures are in [0, 1] outside."""
    bare = made(as_network(), **options)
    return Adapter(
        alpha_bar=lambda: bare.alphas_cumprod,
        add_noise=lambda x_0, noise, t: bare.q_sample(x_0, t, noise),
        step=lambda out, t, x: made(as_network(out), **options).p_sample(x, t),
        sample=lambda model, shape: made(model, **options).sample(shape[0]),
        loss=lambda model, x_0: made(model, **options)((x_0 + 1) / 2),
    )


adapted = adapt()

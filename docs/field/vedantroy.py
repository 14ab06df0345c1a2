"""The learned variance of vedantroy/improved-ddpm-pytorch, on its cosine."""

import os
import sys

import torch

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from diffusion.diffusion import LearnedVarianceGaussianDiffusion, cosine_betas

diffusion = LearnedVarianceGaussianDiffusion(cosine_betas(1000))


def sample(model, shape):
    """The last picture that the loop yields."""
    *_, x = diffusion.p_sample_loop_progressive(
        model=model, noise=None, shape=shape, threshold=None, device="cpu"
    )
    return x


adapted = Adapter(
    alpha_bar=lambda: diffusion.alphas_cumprod,
    add_noise=lambda x_0, noise, t: diffusion.q_sample(x_0, t, noise),
    step=lambda out, t, x: diffusion.p_sample(
        model=as_network(out), x_t=x, t=torch.full((len(x),), t), threshold=None
    ),
    sample=sample,
)

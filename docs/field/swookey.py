"""Lesson 9 of swookey-thinky/mindiffusion with the variance fixed; pictures in [0, 1] outside."""

import os
import sys

from compare import Adapter, as_network

sys.path.insert(0, f"{os.environ['FIELD_CHECKOUT']}/lesson_09")
from diffusion_model import DotConfig, GaussianDiffusion_ImprovedDDPM

CONFIG = DotConfig({"model": {"num_scales": 1000, "is_v_param": False}})


def made(model):
    """The module round this network."""
    return GaussianDiffusion_ImprovedDDPM(lambda config: model, CONFIG)


adapted = Adapter(
    add_noise=lambda x_0, noise, t: made(as_network())._q_sample(x_0, t, noise),
    step=lambda out, t, x: made(as_network(out))._p_sample(x, t),
    sample=lambda model, shape: made(model).sample(shape[-1], shape[1], shape[0]),
    loss=lambda model, x_0: made(model).loss_on_batch((x_0 + 1) / 2)["loss"],
)

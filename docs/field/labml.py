"""labml's annotated DDPM: its class, and the loop of its experiment with labml's own tools away."""

import os
import sys
from unittest.mock import MagicMock, patch

import torch

from compare import Adapter, as_network

tools = MagicMock()
tools.configs.BaseConfigs = type("BaseConfigs", (), {"dataset": None})
tools.monit.iterate = lambda name, steps: range(steps)
NOT_NEEDED = ("torchvision", "labml_nn.helpers.device")
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(
    sys.modules,
    dict.fromkeys(NOT_NEEDED, MagicMock()) | {"labml": tools, "labml.configs": tools.configs},
):
    from labml_nn.diffusion.ddpm import DenoiseDiffusion
    from labml_nn.diffusion.ddpm.experiment import Configs


def made(model):
    """The class round this network."""
    return DenoiseDiffusion(model, 1000, "cpu")


def sample(model, shape):
    """The loop of its experiment, which saves its pictures."""
    configs = Configs()
    configs.eps_model, configs.diffusion, configs.device = model, made(model), "cpu"
    configs.n_samples, configs.image_channels, configs.image_size = shape[:3]
    configs.sample()
    return tools.tracker.save.call_args.args[1]


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alpha_bar,
    add_noise=lambda x_0, noise, t: made(as_network()).q_sample(x_0, t, noise),
    step=lambda out, t, x: made(as_network(out)).p_sample(x, torch.full((len(x),), t)),
    sample=sample,
    loss=lambda model, x_0: made(model).loss(x_0),
)

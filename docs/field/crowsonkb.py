"""The loop of crowsonkb/v-diffusion-pytorch: v, a cosine in t from 1 to 0, eta 0, 50 steps."""

import os
import sys
from unittest.mock import MagicMock

import torch

from compare import Adapter

NOT_NEEDED = ("requests", "torchvision", "torchvision.transforms", "diffusion.models")
sys.modules.update(dict.fromkeys(NOT_NEEDED, MagicMock()))
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from diffusion import sampling, utils  # noqa: E402

steps = torch.linspace(1, 0, 51)[:-1]

adapted = Adapter(
    alpha_bar=lambda: utils.t_to_alpha_sigma(steps.flip(0))[0] ** 2,
    sample=lambda model, shape: sampling.sample(model, torch.randn(shape), steps, 0.0, {}),
    prediction_type="v_prediction",
)

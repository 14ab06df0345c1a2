"""The scheduler of LambdaLabsML/diffusion-from-scratch, part a of its chapter 4."""

import os
import runpy
import sys
from unittest.mock import MagicMock

import torch

from compare import Adapter

NOT_NEEDED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
sys.modules.update(dict.fromkeys((*NOT_NEEDED, "torchvision.utils"), MagicMock()))
scheduler = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/04-mnist/part_a_mnist.py")[
    "NoiseScheduler"
]()

adapted = Adapter(
    alpha_bar=lambda: scheduler.alpha_bar,
    add_noise=lambda x_0, noise, t: scheduler.add_noise(x_0, t, noise),
    step=lambda out, t, x: scheduler.sample_prev_step(x, torch.full((len(x),), t), out),
)

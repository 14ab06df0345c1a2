"""The module of TeaPearce/Conditional_Diffusion_MNIST: guidance by a doubled batch, w = 2."""

import os
import sys
from unittest.mock import MagicMock, patch

import torch

from compare import Adapter, as_network

NOT_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.utils")
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, dict.fromkeys(NOT_NEEDED, MagicMock())):
    from script import DDPM


def made(model):
    """The module round this network, with the numbers of its training."""
    return DDPM(model, (1e-4, 0.02), 400, "cpu")


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphabar_t,
    sample=lambda model, shape: made(model).sample(shape[0], shape[1:], "cpu", guide_w=2.0)[0],
    loss=lambda model, x_0: made(model)(x_0, torch.arange(len(x_0)) % 10),
)

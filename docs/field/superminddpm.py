"""The one-file version of cloneofsimo/minDiffusion."""

import os
import sys
from unittest.mock import MagicMock

from compare import Adapter, as_network

NOT_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.utils")
sys.modules.update(dict.fromkeys(NOT_NEEDED, MagicMock()))
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from superminddpm import DDPM  # noqa: E402


def made(model):
    """The module round this network."""
    return DDPM(model, (1e-4, 0.02), 1000)


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphabar_t,
    sample=lambda model, shape: made(model).sample(shape[0], shape[1:], "cpu"),
    loss=lambda model, x_0: made(model)(x_0),
)

"""The one-file version of cloneofsimo/minDiffusion."""

import os
import sys
from unittest.mock import MagicMock, patch

from compare import Adapter, as_network

NOT_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.utils")
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, dict.fromkeys(NOT_NEEDED, MagicMock())):
    from superminddpm import DDPM


def made(model):
    """The module round this network."""
    return DDPM(model, (1e-4, 0.02), 1000)


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphabar_t,
    sample=lambda model, shape: made(model).sample(shape[0], shape[1:], "cpu"),
    loss=lambda model, x_0: made(model)(x_0),
)

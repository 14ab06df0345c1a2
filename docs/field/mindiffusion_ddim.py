"""The DDIM of cloneofsimo/minDiffusion with eta 0: its loop, and the table and loss of its DDPM."""

import os
import sys

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from mindiffusion.ddim import DDIM


def made(model):
    """The module round this network."""
    return DDIM(model, (1e-4, 0.02), 0.0, 1000)


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphabar_t,
    sample=lambda model, shape: made(model).sample(shape[0], shape[1:], "cpu"),
    loss=lambda model, x_0: made(model)(x_0),
)

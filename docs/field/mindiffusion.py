"""The module of cloneofsimo/minDiffusion: T + 1 table entries, the network told t / T."""

import os
import sys

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from mindiffusion.ddpm import DDPM


def made(model):
    """The module round this network."""
    return DDPM(model, (1e-4, 0.02), 1000)


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alphabar_t,
    sample=lambda model, shape: made(model).sample(shape[0], shape[1:], "cpu"),
    loss=lambda model, x_0: made(model)(x_0),
)

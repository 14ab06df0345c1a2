"""The sampler of AlbertoParravicini/ddpm-from-scratch, which holds its network."""

import os
import sys
from unittest.mock import MagicMock

from compare import Adapter, as_network

sys.modules["jaxtyping"] = MagicMock()
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from ddpm_from_scratch.samplers import DDPM  # noqa: E402
from ddpm_from_scratch.utils import LinearBetaSchedule  # noqa: E402


def made(model):
    """The sampler round this network."""
    return DDPM(LinearBetaSchedule(), model, 1000, "cpu")


adapted = Adapter(
    alpha_bar=lambda: made(as_network()).alpha_cumprods,
    add_noise=lambda x_0, noise, t: made(as_network()).forward_sample(t, x_0, noise)[0],
    step=lambda out, t, x, generator: made(as_network(out)).backward_sample(
        t, x, generator=generator
    ),
)

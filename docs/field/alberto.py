"""The sampler of AlbertoParravicini/ddpm-from-scratch, which holds its network."""

import os
import sys
from unittest.mock import MagicMock, patch

from compare import Adapter, as_network

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, {"jaxtyping": MagicMock()}):
    from ddpm_from_scratch.samplers import DDPM
    from ddpm_from_scratch.utils import LinearBetaSchedule


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

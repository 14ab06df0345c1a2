"""The class of byrkbrk/conditional-ddpm: T + 1 table entries, noise handed to the step."""

import os
import sys
from unittest.mock import MagicMock, patch

from compare import Adapter

NOT_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.utils")
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, dict.fromkeys(NOT_NEEDED, MagicMock())):
    from diffusion_model import DiffusionModel

DiffusionModel.create_dirs = lambda self, folder: None
whole = DiffusionModel("cpu", "mnist")
T, ENDS = 500, (1e-4, 0.02)
a, b, ab = whole.get_ddpm_noise_schedule(T, *ENDS, "cpu")


def sample(model, shape):
    """Its loop; pictures are in [0, 1]."""
    whole.nn_model, model.height, model.width = model, *shape[2:]
    return whole.sample_ddpm(shape[0], None, T, *ENDS)[0]


adapted = Adapter(
    alpha_bar=lambda: ab,
    add_noise=lambda x_0, noise, t: whole.perturb_input(x_0, t, noise, ab),
    step=lambda out, t, x, z: whole.denoise_add_noise(x, t, out, a, b, ab, z),
    sample=sample,
)

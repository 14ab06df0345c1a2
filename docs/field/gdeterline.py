"""The guided loop of Gdeterline/Classifier-Free-Diffusion-Models, which draws its pictures."""

import os
import sys
from unittest.mock import MagicMock

import numpy as np
import torch

from compare import Adapter

sys.modules.update(dict.fromkeys(("torchvision", "torchvision.transforms"), MagicMock()))
sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
import main  # noqa: E402


def sample(model, shape):
    """The pictures that it hands to matplotlib, (b, c, h, w)."""
    main.plt = main.os = MagicMock()
    main.plt.subplots.return_value = main.plt, main.plt
    embed = torch.nn.Embedding(2, 4)
    main.run_inference(model, embed, "a", ["a"], 2.0, shape[1], shape[-1], shape[0], 1)
    drawn = main.plt.__getitem__.return_value.imshow.call_args_list
    return torch.tensor(np.stack([call.args[0] for call in drawn])).permute(0, 3, 1, 2)


adapted = Adapter(
    alpha_bar=lambda: torch.linspace(0.9999, 0.98, 1000, dtype=torch.float64).cumprod(0),
    sample=sample,
    reading="pictures=unmapped",
)

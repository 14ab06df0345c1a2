"""The public package `denoising-diffusion-pytorch`, judged through an adapter.

pip install denoising-diffusion-pytorch
ddpm compare --candidate docs/examples/public_package.py:linear
ddpm compare --candidate docs/examples/public_package.py:cosine

Its `p_sample` always clips x0-hat to [-1, 1] and its variance is beta-tilde: conventions. Numbers
come from the global random state, so no role names a generator.
"""

from typing import Any

import torch
from torch import Tensor, nn

from compare import Adapter

SIZE = 8


class Answer(nn.Module):
    """A network in the package's words: three channels, no self-conditioning."""

    channels = out_dim = 3
    self_condition = False

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, _: None = None) -> Tensor:
        """What the model says."""
        return self.model(x, t)


def package(model: Any, beta_schedule: str) -> Any:
    """The package's class round a model that predicts the noise; images in [-1, 1]."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    class Whole(GaussianDiffusion):  # the class itself insists on a network of its own make
        pass

    return Whole(
        Answer(model),
        image_size=SIZE,
        timesteps=1000,
        objective="pred_noise",
        beta_schedule=beta_schedule,
        auto_normalize=False,
    )


def adapt(beta_schedule: str) -> Adapter:
    """Its forward process, its step and its loss."""
    bare = package(lambda x, t: x, beta_schedule)

    def step(out: Tensor, t: int, x_t: Tensor) -> dict[str, Tensor]:
        bare.model.model = lambda x, at: out
        x_prev, x_0 = bare.p_sample(x_t, t)
        return {"prev_sample": x_prev, "pred_original_sample": x_0}

    def loss(model: nn.Module, x_0: Tensor) -> Tensor:
        whole = package(model, beta_schedule)
        t = torch.randint(0, whole.num_timesteps, (len(x_0),))  # as its `forward`, for any size
        return whole.p_losses(x_0, t)

    return Adapter(
        alpha_bar=lambda: bare.alphas_cumprod,
        add_noise=lambda x_0, noise, t: bare.q_sample(x_0, t, noise),
        step=step,
        loss=loss,
        name=f"denoising-diffusion-pytorch, {beta_schedule}",
    )


def linear() -> Adapter:
    """With linear betas."""
    return adapt("linear")


def cosine() -> Adapter:
    """With the cosine schedule."""
    return adapt("cosine")


def sigmoid() -> Adapter:
    """With its own sigmoid of alpha-bar, which is another curve than Diffusers' sigmoid of beta."""
    return adapt("sigmoid")

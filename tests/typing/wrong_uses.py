"""What a type checker must refuse: an `ignore` that is not needed fails `make check`.

Nothing here is run.
"""

import torch
from torch import Tensor

import scratch
import with_diffusers
from workbench import data, plotting

X = torch.zeros(2, 1, 8, 8)


def of_scratch(unet: scratch.UNet2DModel, pipeline: scratch.DDPMPipeline) -> None:
    """A plain tuple has no names, a misspelt name is not there, a word is one of the list."""
    ddpm, ddim = scratch.DDPMScheduler(), scratch.DDIMScheduler()
    ddpm.step(X, 7, X, return_dict=False).prev_sample  # type: ignore[attr-defined]
    ddim.step(X, 7, X, return_dict=False).prev_sample  # type: ignore[attr-defined]
    unet.forward(X, 7, return_dict=False).sample  # type: ignore[attr-defined]
    unet(X, 7, return_dict=False).sample  # type: ignore[attr-defined]
    pipeline(return_dict=False).images  # type: ignore[attr-defined]
    pipeline().imagse  # type: ignore[attr-defined]
    ddpm.prev_timestep(7)  # type: ignore[attr-defined]
    pipeline.enable_model_cpu_offload()  # type: ignore[attr-defined]
    pipeline(output_type="latent")  # type: ignore[call-overload]
    ddpm.step(X, 7.5, X)  # type: ignore[call-overload]
    scratch.DDPMScheduler(beta_schedule="cosine")  # type: ignore[arg-type]
    scratch.DDPMScheduler(eta=1.0)  # type: ignore[call-arg]
    an_int: int = ddpm.previous_timestep(torch.tensor(7))  # type: ignore[assignment]
    a_tensor: Tensor = ddpm.previous_timestep(an_int)  # type: ignore[assignment]
    print(a_tensor)


def of_the_library(unet: with_diffusers.UNet2DModel, pipeline: with_diffusers.DDPMPipeline) -> None:
    """The same of Diffusers' classes."""
    ddpm, ddim = with_diffusers.DDPMScheduler(), with_diffusers.DDIMScheduler()
    ddpm.step(X, 7, X, return_dict=False).prev_sample  # type: ignore[attr-defined]
    ddim.step(X, 7, X, return_dict=False).prev_sample  # type: ignore[attr-defined]
    unet(X, 7, return_dict=False).sample  # type: ignore[attr-defined]
    pipeline(return_dict=False).images  # type: ignore[attr-defined]


def of_the_workbench() -> None:
    """A data set is no tensor, and a figure no path."""
    plotting.image_grid(data.load("digits"))  # type: ignore[arg-type]
    plotting.save("digits.png", X)  # type: ignore[arg-type]

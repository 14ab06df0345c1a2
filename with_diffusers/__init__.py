"""DDPM from Hugging Face Diffusers, under the same four names as `scratch`.

Nothing is wrapped: these are the library's own classes, so that what you learn here holds in any
code that uses it. What it lacks or gets wrong stands in `with_diffusers.gaps`.
"""

# Training: `add_noise`. Sampling: `set_timesteps(n)`, then `step` for each of `timesteps`. Pass
# arguments by keyword: a T given by position is lost in `from_config`.
from diffusers import DDIMScheduler  # step's `eta` is 0: no noise; `spacing` other than "leading"
from diffusers import DDPMScheduler

# `DDPMPipeline(unet, scheduler)(num_inference_steps=...)` runs 1,000 steps unless told otherwise.
from diffusers import DDPMPipeline

# `norm_num_groups` is 32 unless told otherwise: a level 32 channels wide cannot see t then.
from diffusers import UNet2DModel

__all__ = ["DDIMScheduler", "DDPMPipeline", "DDPMScheduler", "UNet2DModel"]
